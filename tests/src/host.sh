# Boots this machine's own root, seen through an overlay in memory, with its real systemd as PID 1.
# Runs in a mount namespace of its own (unshare), so that no mount outlives it.
#   host.sh NAME DIR    DIR is the only place whose files outlive the host
set -eu
name=$1 dir=$2 base=/run/$1
mkdir -p "$base"
mount -t tmpfs -o mode=755 "$name" "$base"
mkdir "$base/up" "$base/work" "$base/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/up,workdir=$base/work" "$base/root"
# A host of its own, which starts nothing that this machine starts.
systemd-id128 new >"$base/root/etc/machine-id"
rm -rf "$base"/root/etc/systemd/system/*.wants
# Without a cgroup of its own two hosts would share one.
for tree in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
    if [ -e "$tree/cgroup.procs" ]; then
        mkdir -p "$tree/$name"
        echo $$ >"$tree/$name/cgroup.procs"
    fi
done
status=133 # how nspawn says that its host reboots
while [ "$status" -eq 133 ]; do
    status=0
    systemd-nspawn --quiet --register=no --keep-unit --link-journal=no --console=pipe \
        --machine="$name" --hostname="$name" --directory="$base/root" --bind="$dir" \
        --boot systemd.unit=multi-user.target || status=$?
done
