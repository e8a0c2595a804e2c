#!/bin/sh
# systemd makes the folder of version 1 hierarchies read-only and joins cpu and cpuacct by links. Kubelet and runc get the
# plain layout instead, each controller mounted under its own name.
[ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ] && exit 0
mount -o remount,rw /sys/fs/cgroup
for controller in cpu cpuacct; do
  point=/sys/fs/cgroup/$controller
  if [ -L "$point" ]; then rm "$point"; fi
  mkdir -p "$point"
  mountpoint -q "$point" || mount -t cgroup -o "$controller" cgroup "$point"
done
