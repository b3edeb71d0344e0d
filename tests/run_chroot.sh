#!/bin/sh
# Installation on clean machines, by hand: run_chroot.sh [bare|deb|user|image...], all by `make check-install-chroot`.
# Wants root, debootstrap and a mirror of Debian. Each machine is a fresh Debian 12:
#
#   bare     make names what is missing and installs nothing; make deps, make, make install; consumers by cc,
#            pkg-config and CMake below /usr/local; make uninstall leaves nothing; make demo by itself
#   deb      two builds of the packages in different folders: lintian without errors and warnings, same bytes
#   user     those packages installed; consumers by cc, pkg-config and CMake; removed again
#   image    the Containerfile, its two stages as chroots
#
# MIRROR=URL names a mirror, CHROOT=FOLDER where the machines are, KEEP=1 keeps what debootstrap made. The last line counts as in tests/check.sh.
dir=${CHROOT:-/var/tmp/bnc-chroot} # not below build/: make looks into all that is there
mirror=${MIRROR:-http://deb.debian.org/debian}
. tests/lib.sh
version=$(sed -n 's/^#define BN_VERSION "\(.*\)"/\1/p' runtime-min/bn.h)
abi=$(sed -n 's/^#define BN_ABI \([0-9]*\).*/\1/p' runtime-min/bn_model.h)
if [ "$(id -u)" != 0 ] || ! command -v debootstrap >/dev/null; then
    skip "clean machines" "wants root and debootstrap (sh tools/packages.sh install package)"
    finish
    exit
fi
mkdir -p $dir
export DEBIAN_FRONTEND=noninteractive

machine() { # machine NAME: a fresh one in $dir/NAME, with /proc and the source in /src.tar.gz
    leave "$1"
    if [ ! -e $dir/base.tar ]; then
        rm -rf $dir/base
        check "debootstrap" debootstrap --variant=minbase bookworm $dir/base "$mirror" || { finish; exit 1; }
        tar -C $dir/base -cf $dir/base.tar.tmp .
        mv $dir/base.tar.tmp $dir/base.tar
        rm -rf $dir/base
    fi
    mkdir -p $dir/$1
    tar -C $dir/$1 -xf $dir/base.tar
    cp /etc/resolv.conf $dir/$1/etc/
    cp build/bnc-$version.tar.gz $dir/$1/src.tar.gz
    echo force-unsafe-io >$dir/$1/etc/dpkg/dpkg.cfg.d/quick # no fsync: the machine is thrown away
    mount -t proc proc $dir/$1/proc
    inside $1 'apt-get update -qq && apt-get install -y -qq --no-install-recommends make' >$dir/apt.log 2>&1
}
leave() { # leave NAME
    mountpoint -q $dir/$1/proc && umount $dir/$1/proc
    rm -rf "${dir:?}/$1"
}
trap 'umount $dir/*/proc 2>/dev/null' EXIT
inside() { # inside NAME SHELL-COMMAND
    chroot $dir/$1 /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin HOME=/root LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive sh -c "$2"
}
packages() { # packages NAME: what is installed there
    inside $1 'dpkg-query -W'
}
consumers() { # consumers NAME INCLUDE: a program by each road, and that all of them say the same
    name=$1
    cp -r examples $dir/$name/root/
    model=/root/examples/models/$(cd examples/models && ls ./*.gguf | head -n 1)
    check "$name: bnc" inside $name "cd /root && bnc $model --quiet -o fables.c"
    story="-O1 -DFABLES_WEIGHTS='\"/root/fables.bnw\"' /root/examples/story/story.c /root/fables.c -I/root"
    check "$name: cc, shared" inside $name "cc $story -I$2 -lbnrt -lm -o /root/a"
    check "$name: cc, static" inside $name "cc $story -I$2 -Wl,-Bstatic -lbnrt -Wl,-Bdynamic -lpthread -lm -o /root/b"
    check "$name: pkg-config" inside $name "cc $story \$(pkg-config --cflags --libs bnrt) -o /root/c"
    check "$name: CMake" inside $name "cd /root && cmake -S examples/cmake -B cm && cmake --build cm && cmake --install cm"
    inside $name "/root/a 'The old man'" >$dir/said.a
    check "$name: it tells" test "$(wc -c <$dir/said.a)" -gt 100
    for program in b c; do
        inside $name "/root/$program 'The old man'" >$dir/said
        check "$name: $program tells the same" cmp $dir/said.a $dir/said
    done
    check "$name: CMake's program" inside $name \
        "test \"\$(echo 'The old man' | sequel)\" = \"\$(bnc run $model --quiet -p 'The old man' -n 24 --temp 0)\""
    check "$name: the manual" inside $name 'test -s $(ls /usr/share/man/man1/bnc.1.gz /usr/local/share/man/man1/bnc.1 2>/dev/null)'
}

check "the source" make -s dist

bare() {
    machine bare
    inside bare 'mkdir -p /home/u && tar -xzf /src.tar.gz -C /home/u --strip-components=1 && useradd u && chown -R u /home/u'
    packages bare >$dir/before
    inside bare "su u -c 'cd /home/u && make'" >$dir/said 2>&1
    check "bare: make stops" test $? = 2
    check "bare: and names packages" grep -q 'lacks: binutils bison flex gcc' $dir/said
    check "bare: nothing is installed" sh -c "chroot $dir/bare dpkg-query -W | cmp - $dir/before"
    check "bare: make deps" inside bare 'cd /home/u && make deps'
    check "bare: make, by a user" inside bare "su u -c 'cd /home/u && make -s -j2'"
    find $dir/bare/usr/local ! -type d | sort >$dir/before
    check "bare: make install" inside bare 'cd /home/u && make install && ldconfig'
    check "bare: root built nothing" sh -c "test -z \"\$(find $dir/bare/home/u/build -user root)\""
    inside bare 'apt-get install -y -qq --no-install-recommends cmake pkgconf' >/dev/null 2>&1
    consumers bare /usr/local/include/bnrt
    check "bare: make uninstall" inside bare 'cd /home/u && make uninstall && rm -f /usr/local/bin/sequel'
    check "bare: nothing is left" sh -c "find $dir/bare/usr/local ! -type d | sort | cmp - $dir/before"
    leave bare
    machine bare
    inside bare 'mkdir /x && cd /x && tar -xzf /src.tar.gz --strip-components=1 && make demo' >$dir/said 2>&1
    check "bare: make demo" test $? = 0
    check "bare: the story" test "$(sed '1,/^build\/story\/story$/d' $dir/said | wc -c)" -gt 100
    leave bare
}

deb() {
    machine deb
    check "deb: git for the source, packages" inside deb "mkdir -p /one/two && cd /one && tar -xzf /src.tar.gz --strip-components=1 && \
        apt-get install -y -qq --no-install-recommends git && sh tools/packages.sh install build package"
    for where in /one/two/build /elsewhere; do
        check "deb: packages in $where" inside deb "mkdir -p $where && cd $where && tar -xzf /src.tar.gz && cd bnc-$version && \
            HOME=$where TZ=Asia/Tokyo dpkg-buildpackage -us -uc"
    done
    inside deb "cd /elsewhere && lintian --fail-on error,warning bnc_${version}_*.changes" >$dir/said 2>&1
    check "deb: lintian" test $? = 0
    check "deb: lintian has nothing to say" sh -c "! grep -E '^[EW]:' $dir/said"
    for f in $(cd $dir/deb/elsewhere && ls ./*.deb ./*.tar.xz ./*.dsc); do
        check "deb: the same $f" cmp $dir/deb/elsewhere/$f $dir/deb/one/two/build/$f
    done
    cp $dir/deb/elsewhere/*.deb $dir/
    check "deb: five packages" test "$(cd $dir/deb/elsewhere && ls ./*.deb | wc -l)" = 5
    leave deb
}

user() {
    machine user
    cp $dir/*.deb $dir/user/
    packages user >$dir/before
    check "user: installed" inside user "apt-get install -y -qq --no-install-recommends /bnc_*.deb /libbnrt${abi}_*.deb /libbnrt-dev_*.deb \
        gcc libc6-dev cmake pkgconf"
    consumers user /usr/include/bnrt
    check "user: removed" inside user "apt-get purge -y -qq bnc libbnrt$abi libbnrt-dev && rm -f /usr/local/bin/sequel"
    check "user: nothing is left" sh -c "test -z \"\$(find $dir/user/usr -name '*bnrt*' -o -name 'bnc*')\""
    leave user
}

stage() { # stage N: the commands of its RUNs
    sed -e ':a;/\\$/{N;s/\\\n *//;ba}' Containerfile | awk -v n="$1" '/^FROM/ {at++} at == n && sub(/^RUN /, "")'
}
steps() { # steps MACHINE N FOLDER
    stage $2 >$dir/steps
    while read -r step; do
        check "image: $step" inside $1 "cd $3 && $step" </dev/null
    done <$dir/steps
}
image() { # each RUN of the Containerfile, COPY and FROM by hand
    machine image
    mkdir $dir/image/src
    tar -xzf build/bnc-$version.tar.gz -C $dir/image/src --strip-components=1
    steps image 1 /src
    machine image2
    cp -a $dir/image/image/. $dir/image2/
    steps image2 2 /
    cp examples/models/*.gguf $dir/image2/root/model.gguf
    check "image: a program" inside image2 'cd /root && bnc model.gguf --emit=exe -o model && ./model -p "The old" -n 8'
    leave image
    leave image2
}

for part in ${*:-bare deb user image}; do
    $part
done
[ -n "$KEEP" ] || rm -f $dir/base.tar
finish
