#!/usr/bin/env bash
# The floor: what a deployment cannot do without, in one shell and without any tool. It fetches,
# checks out, restarts the app on its port and returns when the app answers with the new revision.
# usage: floor.sh deploy|rollback ROOT ORIGIN PORT
set -euo pipefail
action=$1 root=$2 origin=$3 port=$4
mkdir -p "$root/releases"

# A process that nobody has reaped yet does not run any more.
runs() {
    local state
    read -r _ _ state _ <"/proc/$1/stat" && [ "$state" != Z ]
} 2>/dev/null

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
if [ -f "$root/app.pid" ]; then
    old=$(cat "$root/app.pid")
    kill "$old" 2>/dev/null || true
    while runs "$old"; do sleep 0.005; done
fi
cd "$release"
REVISION=$(cat REVISION) setsid python3 -S -E app.py "$port" </dev/null >/dev/null 2>&1 &
echo $! >"$root/app.pid"
until [ "$(exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && tail -n 1 <&3)" = "$(cat REVISION)" ] 2>/dev/null; do
    sleep 0.005
done 2>/dev/null
ls -1d "$root"/releases/* | head -n -30 | xargs -r rm -rf
