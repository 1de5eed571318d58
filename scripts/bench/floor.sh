#!/usr/bin/env bash
# The floor: what a deployment cannot do without, in one shell and without any tool. It fetches,
# checks out, restarts the app on its port and returns when the app answers with the new revision.
# usage: floor.sh deploy|rollback ROOT ORIGIN PORT      RESTART names another script for the restart
set -euo pipefail
action=$1 root=$2 origin=$3 port=$4
mkdir -p "$root/releases"

if [ "$action" = deploy ]; then
    [ -f "$root/repo/HEAD" ] || git clone -q --mirror "$origin" "$root/repo"
    git -C "$root/repo" remote update --prune >/dev/null 2>&1
    release=$root/releases/$(date +%Y%m%d%H%M%S%N)
    mkdir "$release"
    git -C "$root/repo" archive main | tar -x -f - -C "$release"
    git -C "$root/repo" rev-parse main >"$release/REVISION"
else
    current=$(readlink "$root/current")
    release=
    for candidate in "$root"/releases/*; do
        [ "$candidate" = "$current" ] && break
        release=$candidate
    done
    [ -n "$release" ] || release=$candidate # the oldest serves: turn back to the newest
fi

ln -s "$release" "$root/.current.$$"
mv -T "$root/.current.$$" "$root/current"
# shellcheck source=scripts/bench/restart.sh
. "${RESTART:-${BASH_SOURCE[0]%/*}/restart.sh}" "$root" "$port"
ls -1d "$root"/releases/* | head -n -30 | xargs -r rm -rf
