#!/bin/bash
# First process of a host until systemd takes its place. Every mount is made in the host's own mount namespace and goes
# with it. Arguments: the host's name, its folder, the container image root's programs folder; CGROUPS lists hierarchies,
# each as "name:mount options", or is "unified".
set -euo pipefail
name=$1 dir=$2 programs=$3 version=$4
root=$dir/merged

hostname "$name"
mount -t overlay "overlay-$name" -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
if [ "$CGROUPS" = unified ]; then
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
  mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
  for hierarchy in $CGROUPS; do
    point=$root/sys/fs/cgroup/${hierarchy%%:*} options=${hierarchy#*:}
    mkdir -p "$point"
    if [ -n "$options" ]; then mount -t cgroup -o "$options" cgroup "$point"; else mount -t cgroup2 cgroup2 "$point"; fi
  done
fi
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mkdir "$root/run/lock"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"   # systemd-tmpfiles would otherwise go through the machine's own
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty kmsg fuse; do
  if [ -e "/dev/$device" ]; then cp -a "/dev/$device" "$root/dev/"; fi
done
mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/mqueue"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t mqueue mqueue "$root/dev/mqueue"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"

# On the plain disk: containerd's snapshots cannot lie on an overlay, and the others are as well off.
for state in containerd kubelet etcd; do
  mount --bind "$dir/state/$state" "$root/var/lib/$state"
done
mkdir -p "$root/opt/kubernetes/$version"
mount --bind "$programs" "$root/opt/kubernetes/$version"
mount -o remount,ro,bind "$root/opt/kubernetes/$version"

for _ in $(seq 400); do
  if [ -e "$root/sys/class/net/eth0" ] && [ "$(cat "$root/sys/class/net/eth0/operstate")" = up ]; then break; fi
  sleep 0.025
done
echo 1 > "$root/proc/sys/net/ipv4/ip_forward"

cd "$root"
mkdir -p .machine
pivot_root . .machine
mount --make-rprivate /.machine
umount -l /.machine
rmdir /.machine
mount --make-rshared /
exec env -i container=lab PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --system --log-target=console
