#!/bin/sh
# public.sh [SUITE]: what a stranger does. A fresh Debian (debootstrap; SUITE, else bookworm) with git, make
# and ca-certificates, a clone of this commit and nothing beside it: `make check` as root, then in another
# clone as an ordinary user, then with -j1. Run by hand: as root, with the network, for an hour or more.
# PUBLIC_ROOT names the folder to make it in (else a temporary one, removed at the end); MIRROR another
# mirror; CHECK what make is asked for, as in CHECK="check ONLY=text". Status 1 where one run fails.
set -eu
suite=${1:-bookworm}
mirror=${MIRROR:-http://deb.debian.org/debian}
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "public.sh: debootstrap and chroot want root" >&2; exit 2; }
command -v debootstrap >/dev/null || { echo "public.sh: apt-get install debootstrap" >&2; exit 2; }
[ -z "$(git status --porcelain)" ] || echo "public.sh: note: what is not committed is not tested"
root=${PUBLIC_ROOT:-$(mktemp -d)}
leave() {
    umount "$root/dev/pts" "$root/proc" 2>/dev/null || true
    [ -n "${PUBLIC_ROOT:-}" ] || rm -rf --one-file-system "$root"
}
trap leave EXIT
trap 'exit 2' HUP INT TERM

if [ ! -f "$root/.complete" ]; then
    debootstrap --variant=minbase --include=git,make,gcc,libc6-dev,ca-certificates "$suite" "$root" "$mirror"
    touch "$root/.complete"
fi
mount -t proc proc "$root/proc"
[ -e "$root/dev/pts/ptmx" ] || mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts" 2>/dev/null || true
[ ! -f /etc/resolv.conf ] || cp -L /etc/resolv.conf "$root/etc/resolv.conf"
git bundle create -q "$root/tmp/bnc.bundle" HEAD
chroot "$root" id bnc >/dev/null 2>&1 || chroot "$root" useradd -m bnc

bad=0
run() { # run USER FOLDER FLAG...: a clone in a folder of its own, checked
    user=$1
    folder=$2
    shift 2
    echo "== $user: make $* ${CHECK:-check}"
    chroot "$root" su - "$user" -c "rm -rf $folder && mkdir -p $folder && git -c advice.detachedHead=false clone -q /tmp/bnc.bundle $folder/bnc &&
        cd $folder/bnc && make $* ${CHECK:-check}" || bad=1
}
run root /root/public
run bnc /home/bnc/public
run bnc /home/bnc/single -j1
exit $bad
