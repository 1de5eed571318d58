#!/usr/bin/env bash
# Stop and start, the way of whoever keeps no socket: the old process ends, the one of ROOT/current
# starts, and it counts when it answers with its revision. Fails as soon as the new one has ended.
# usage: restart.sh ROOT PORT      (or sourced with the same arguments, which saves a process)
set -euo pipefail
root=$1 port=$2

# A process that nobody has reaped yet does not run any more.
runs() {
    local state
    read -r _ _ state _ <"/proc/$1/stat" && [ "$state" != Z ]
} 2>/dev/null

if [ -f "$root/app.pid" ]; then
    old=$(cat "$root/app.pid")
    kill "$old" 2>/dev/null || true
    while runs "$old"; do sleep 0.005; done
fi
cd "$root/current"
REVISION=$(cat REVISION) setsid python3 -S -E app.py "$port" </dev/null >/dev/null 2>&1 &
new=$!
echo "$new" >"$root/app.pid"
until [ "$(exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && tail -n 1 <&3)" = "$(cat REVISION)" ] 2>/dev/null; do
    runs "$new" || exit 1
    sleep 0.005
done 2>/dev/null
