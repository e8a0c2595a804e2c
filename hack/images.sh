#!/usr/bin/env bash
# Builds the Dockerfile's targets with buildah, or pushes what was built.
#   images.sh build VERSION PLATFORMS            writes dist/images/<image>-<arch>.tar, docker archives
#   images.sh push  VERSION PLATFORMS REGISTRY   one manifest list for each image
# buildah keeps its storage in a folder of its own, which is removed at the end: no daemon, nothing left behind.
set -euo pipefail
command=$1 version=$2 platforms=$3 registry=${4:-}
out=dist/images
declare -A program=([k8s-audit-enabler-coordinator]=coordinator [k8s-audit-enabler-nodeagent]=nodeagent)

storage=$(mktemp -d)
b() { buildah --root "$storage/root" --runroot "$storage/run" --storage-driver vfs "$@"; }
trap 'b rmi --all --force >/dev/null 2>&1 || true; rm -rf "$storage"' EXIT

case $command in
build)
  mkdir -p "$out"
  for image in "${!program[@]}"; do
    for platform in $platforms; do
      arch=${platform#*/} file=$out/$image-${platform#*/}.tar
      b bud --quiet --isolation chroot --platform "$platform" --target "${program[$image]}" --timestamp 0 \
        --label "org.opencontainers.image.version=$version" --tag "localhost/$image:$version" . >/dev/null
      rm -f "$file"
      b push --quiet "localhost/$image:$version" "docker-archive:$file:localhost/$image:$version"
      printf 'image %-48s %5.1f MiB compressed\n' "$file" "$(gzip -c "$file" | wc -c | awk '{print $1/1048576}')"
    done
  done
  ;;
push)
  tls=()
  case $registry in localhost* | 127.0.0.1*) tls=(--tls-verify=false) ;; esac
  for image in "${!program[@]}"; do
    list=list-$image
    b manifest create "$list" >/dev/null
    for platform in $platforms; do
      file=$out/$image-${platform#*/}.tar
      [ -f "$file" ] || { echo "push: $file is missing. Type: make images push REGISTRY=$registry" >&2; exit 2; }
      b manifest add --os "${platform%/*}" --arch "${platform#*/}" "$list" "docker-archive:$file" >/dev/null
    done
    b manifest push --quiet --all "${tls[@]}" "$list" "docker://${registry%/}/$image:$version"
    echo "pushed ${registry%/}/$image:$version ($platforms)"
  done
  echo "now: helm install k8s-audit-enabler charts/k8s-audit-enabler -n k8s-audit-enabler --create-namespace --set image.registry=${registry%/}"
  ;;
*)
  sed -n '2,4p' "$0" >&2
  exit 2
  ;;
esac
