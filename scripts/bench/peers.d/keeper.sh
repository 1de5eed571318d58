# shellcheck shell=bash
# Instead of a restart: a server that keeps the listening socket is told to take the new code.
# It is started when it does not run yet. Sourced by floor.sh; KEEPER says which server it is.
# usage: . keeper.sh ROOT PORT
root=$1 port=$2
control=ipc://$root/circus.sock

if [ -f "$root/app.pid" ]; then
    case $KEEPER in
        circus) circusctl --endpoint "$control" reload web >/dev/null ;;
        *) kill -HUP "$(cat "$root/app.pid")" ;;
    esac
else
    # These are lines for the shell that the keeper starts.
    # shellcheck disable=SC2016
    inherit="cd $root/current && exec python3 -S -E app.py fd:"'${SERVER_STARTER_PORT##*=}'
    case $KEEPER in
        # Through the symlink: with a directory that is resolved once, HUP loads the old code for ever.
        gunicorn) server=(gunicorn --workers 2 --threads 4 --chdir "$root/current" --bind "127.0.0.1:$port" app:application) ;;
        starter) server=(start_server --port "127.0.0.1:$port" --interval 1 -- sh -c "$inherit") ;;
        circus)
            cat >"$root/circus.ini" <<INI
[circus]
endpoint = $control
pubsub_endpoint = ipc://$root/circus.pub
[socket:web]
host = 127.0.0.1
port = $port
[watcher:web]
cmd = sh -c "cd $root/current && exec python3 -S -E app.py fd:\$(circus.sockets.web)"
use_sockets = True
copy_env = True
INI
            server=(circusd "$root/circus.ini")
            ;;
    esac
    setsid "${server[@]}" </dev/null >"$root/server.log" 2>&1 &
    echo $! >"$root/app.pid"
fi
