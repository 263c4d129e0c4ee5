#!/bin/sh
# Both pages can be reached from outside of their containers and need a password: where none was given,
# one is made once and kept in the folder of secrets.
set -eu
umask 077

make_password() { # FILE
  if [ ! -s "$1" ] && [ -w "$(dirname "$1")" ]; then
    # One short write: Orthanc's container, which waits for the file to hold something, gets all of it.
    python -c 'import secrets; print(secrets.token_urlsafe(18))' >"$1"
    echo "A password was made: $1" >&2
  fi
}

if [ "${1:-}" = serve ]; then
  # A file would win over the variable.
  [ -n "${ORTHANC_AL_WEB__PASSWORD:-}" ] || make_password "$ORTHANC_AL_SECRETS/web__password"
  [ -n "${ORTHANC_AL_ORTHANC__PASSWORD:-}" ] || make_password "$ORTHANC_AL_SECRETS/orthanc__password"
fi
exec orthanc-al "$@"
