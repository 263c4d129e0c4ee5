#!/bin/sh
# The page can be reached from outside of the container, so it needs a password: where none was mounted,
# one is made once, kept in the volume and said in the log.
set -eu
secrets="${ORTHANC_AL_SECRETS:-/var/lib/orthanc-al/secrets}"
if [ "${1:-serve}" = "serve" ] && [ -z "${ORTHANC_AL_WEB__PASSWORD:-}" ] && [ ! -e "$secrets/web__password" ]; then
  mkdir -p "$secrets"
  (umask 077 && python -c 'import secrets; print(secrets.token_urlsafe(18))' > "$secrets/web__password")
  echo "A password for the worklist page was made; it is in $secrets/web__password (user name: any)."
fi
mkdir -p "$secrets"
exec orthanc-al "$@"
