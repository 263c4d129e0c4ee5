#!/bin/sh
# Installs the programs that the tests talk to. Where it may not, it names them, and the tests skip
# what needs them (with CI=true they fail instead).
set -u
packages=""
need() { command -v "$1" >/dev/null 2>&1 || packages="$packages $2"; }
need Orthanc "orthanc orthanc-python orthanc-dicomweb"
need storescu dcmtk
need dciodvfy dicom3tools
need chromium chromium
need npm npm
need nginx nginx-light
# Debian keeps the server's programs off the path.
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || need initdb postgresql
[ -z "$packages" ] && exit 0
as_root=""
if [ "$(id -u)" != 0 ]; then
  if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then as_root="sudo"; else as_root="no"; fi
fi
if [ "$as_root" = "no" ] || ! command -v apt-get >/dev/null 2>&1; then
  echo "Not installed, and not installable from here:$packages"
  echo "Tests that need them are skipped. As root: apt-get install --no-install-recommends$packages"
  exit 0
fi
echo "Installing for the tests:$packages"
$as_root apt-get update -q >/dev/null || exit 1
# shellcheck disable=SC2086 # one word a package
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -q -y --no-install-recommends $packages >/dev/null
# Debian starts an Orthanc, an nginx and a PostgreSQL of its own, which would hold their ports; the tests start theirs.
if command -v systemctl >/dev/null 2>&1 && [ -d /run/systemd/system ]; then
  for service in $packages; do
    case "$service" in
      orthanc | postgresql) $as_root systemctl disable --now "$service" >/dev/null 2>&1 || true ;;
      nginx-light) $as_root systemctl disable --now nginx >/dev/null 2>&1 || true ;;
    esac
  done
fi
