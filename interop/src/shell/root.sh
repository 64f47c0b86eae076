# Prepares a root: a layer over this system's files with more Debian packages in it. Started in a mount and a UTS namespace of its own; all
# that it mounts is over /mnt and in memory; it holds that namespace until its input ends. Arguments: the packages.
set -e
read -r pid rest </proc/self/stat
# Nothing that is mounted here is to be seen elsewhere. In a chroot whose folder is no mount point only the namespace's own root can be told so: nsenter
# starts there.
nsenter --target "$pid" --mount mount --make-rprivate /
mount -t tmpfs -o mode=755,size=75% layer /mnt
mkdir /mnt/layer /mnt/work /mnt/root /mnt/machine
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/layer,workdir=/mnt/work /mnt/root
mount --rbind /dev /mnt/root/dev
mount --rbind /proc /mnt/root/proc
mount -t tmpfs -o mode=755 run /mnt/root/run
mount -t tmpfs -o mode=1777 tmp /mnt/root/tmp
# The file may be a link to where the root has nothing, or a mount that the layer does not see.
cat /etc/resolv.conf >/mnt/resolv.conf
cat /etc/hosts >/mnt/hosts
# Sendmail's installation waits a minute for a full name of the host.
hostname root.example
echo '127.0.1.1 root.example root' >>/mnt/hosts
for name in resolv.conf hosts; do
    rm -f "/mnt/root/etc/$name"
    cp "/mnt/$name" "/mnt/root/etc/$name"
done
# No package starts anything.
printf '#!/bin/sh\nexit 101\n' >/mnt/root/usr/sbin/policy-rc.d
chmod 755 /mnt/root/usr/sbin/policy-rc.d
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
install() {
    chroot /mnt/root apt-get install -q -y --no-install-recommends "$@"
}
if [ "$1" = npm ]; then
    shift
    mkdir -p /mnt/root/opt/npm
    chroot /mnt/root sh -c 'cd /opt/npm && npm install --no-audit --no-fund --omit=optional --omit=dev --loglevel=error "$@"' sh "$@" >&2
elif [ $# -gt 0 ]; then
    # The lists of packages may be missing, or too old.
    install "$@" >&2 || { chroot /mnt/root apt-get update -q >&2 && install "$@" >&2; }
fi
umount -R -l /mnt/root
echo "ready $pid"
cat >/dev/null
