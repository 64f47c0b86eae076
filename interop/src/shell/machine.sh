# A machine of its own over a root: files, network, processes, host name. Started in new namespaces that begin as the root's; it holds them
# until its input ends, and as their first process takes all others with it. Arguments: the host name, its IPv4 and its IPv6 address.
set -e
# This /proc is still that of the system: so the number is the one that others know this process by.
read -r pid rest </proc/self/stat
mount -t tmpfs -o mode=755,size=75% machine /mnt/machine
cd /mnt/machine
mkdir upper work root
mount -t overlay overlay -o lowerdir=/mnt/layer:/,upperdir=/mnt/machine/upper,workdir=/mnt/machine/work root
mount -t tmpfs -o mode=755 run root/run
mkdir -m 1777 root/run/lock
mount -t tmpfs -o mode=1777 tmp root/tmp
mount -t proc proc root/proc
# Devices that hurt nobody, and no socket of the system's log: the machine's log is not to end there.
mount -t tmpfs -o mode=755 dev root/dev
for name in null zero full random urandom tty; do
    touch "root/dev/$name"
    mount --bind "/dev/$name" "root/dev/$name"
done
mkdir -m 1777 root/dev/shm
ln -s /proc/self/fd root/dev/fd
ln -s fd/0 root/dev/stdin
ln -s fd/1 root/dev/stdout
ln -s fd/2 root/dev/stderr

hostname "$1"
rm -f root/etc/resolv.conf root/etc/hosts root/etc/hostname root/etc/mailname
echo 'nameserver 127.0.0.1' >root/etc/resolv.conf
printf '127.0.0.1 localhost\n::1 localhost\n%s %s\n%s %s\n' "$2" "$1" "$3" "$1" >root/etc/hosts
echo "$1" | tee root/etc/hostname >root/etc/mailname

# Every address of these networks is this machine, too; what goes there comes from the addresses that are its own.
ip link set lo up
ip address add "$2/32" dev lo
ip -6 address add "$3/128" dev lo nodad
ip route add local 198.18.0.0/15 dev lo src "$2"
ip -6 route add local 2001:db8::/32 dev lo src "$3"
cd root
# From here on the root of this process is the machine's. cat waits, and the shell sees daemons to their end.
exec chroot . sh -c 'echo "ready $0"; cat >/dev/null; exit 0' "$pid"
