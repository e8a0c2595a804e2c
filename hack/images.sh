#!/usr/bin/env bash
# Builds the Dockerfile's targets with buildah, or pushes what was built. No daemon; buildah's storage is removed at the end.
#   images.sh build VERSION PLATFORMS            writes dist/images/<image>-<arch>.tar, docker archives
#   images.sh push  VERSION PLATFORMS REGISTRY   one manifest list for each image
set -euo pipefail
command=$1 version=$2 platforms=$3 registry=${4:-}
registry=${registry%/}
out=dist/images
declare -A target=([k8s-audit-enabler-coordinator]=coordinator [k8s-audit-enabler-nodeagent]=nodeagent
  [k8s-audit-enabler-bridge]=bridge)

if ! command -v buildah >/dev/null; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "images: buildah is missing. On Debian or Ubuntu: apt-get install buildah" >&2
    exit 2
  fi
  echo "images: installing the Debian package buildah"
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends buildah; } >/dev/null
fi

storage=$(mktemp -d)
b() { buildah --root "$storage/root" --runroot "$storage/run" --storage-driver vfs "$@"; }
trap 'b rmi --all --force >/dev/null 2>&1 || true; rm -rf "$storage"' EXIT

# build writes one image's archive, whole or not at all.
build() {
  local image=$1 platform=$2 file=$out/$1-${2#*/}.tar
  b bud --quiet --isolation chroot --platform "$platform" --target "${target[$image]}" --timestamp 0 \
    --label "org.opencontainers.image.version=$version" --tag "localhost/$image:$version" . >/dev/null
  rm -f "$file.tmp"
  b push --quiet "localhost/$image:$version" "docker-archive:$file.tmp:localhost/$image:$version"
  mv "$file.tmp" "$file"
  printf 'image %-52s %5.1f MiB compressed\n' "$file" "$(gzip -c "$file" | wc -c | awk '{print $1/1048576}')"
}

# push sends one image's archives and the manifest list that names them.
push() {
  local image=$1 platform file plain=()
  case $registry in localhost | localhost[:/]* | 127.*) plain=(--tls-verify=false) ;; esac
  b manifest create "list-$image" >/dev/null
  for platform in $platforms; do
    file=$out/$image-${platform#*/}.tar
    [ -f "$file" ] || { echo "push: $file is missing. Type: make images push REGISTRY=$registry" >&2; exit 2; }
    b manifest add --os "${platform%/*}" --arch "${platform#*/}" "list-$image" "docker-archive:$file" >/dev/null
  done
  b manifest push --quiet --all "${plain[@]}" "list-$image" "docker://$registry/$image:$version" >/dev/null
  echo "pushed $registry/$image:$version ($platforms)"
}

case $command in
build)
  mkdir -p "$out"
  for image in "${!target[@]}"; do
    for platform in $platforms; do build "$image" "$platform"; done
  done
  ;;
push)
  for image in "${!target[@]}"; do push "$image"; done
  echo "next: helm install k8s-audit-enabler charts/k8s-audit-enabler -n k8s-audit-enabler --create-namespace --set image.registry=$registry"
  ;;
*)
  sed -n '2,4p' "$0" >&2
  exit 2
  ;;
esac
