#!/usr/bin/env bash
# `npm run test:install`: what out/ holds, each in a clean place. The offline bundle with an empty cache, an empty HOME and no network; the
# executable and the .deb in a Debian root without Node (debootstrap, root): installed, used by two users, upgraded while they are on,
# removed, purged. PTALK_ROOT names an unpacked root that may be used; without one, and without root, that part is skipped and says so.
set -u
cd "$(dirname "$0")/.." || exit 70
version=$(node -p 'require("./package.json").version')
out=$PWD/out scratch=$(mktemp -d) failed=0
trap 'rm -rf --one-file-system "$scratch"' EXIT

check() { # NAME COMMAND...
  local name=$1
  shift
  if "$@" >"$scratch/said" 2>&1; then echo "ok     $name"; else
    echo "FAILED $name"
    tail -15 "$scratch/said"
    failed=$((failed + 1))
  fi
}

offline() {
  local home=$scratch/home prefix=$scratch/prefix
  mkdir -p "$home"
  unshare -n env -i HOME="$home" PATH="$PATH" npm install --global --prefix "$prefix" "$out/ptalk-$version-offline.tgz" &&
    [ "$(env -i HOME="$home" PATH="$PATH" "$prefix/bin/ptalk" --version)" = "$version" ]
}

# Both users are of the root, its loopback and its /dev/shm are its own.
in_root() { unshare -m -n --propagation private bash -c '
  ip link set lo up && mount -t proc proc "$0/proc" && mkdir -p "$0/dev/shm" && mount -t tmpfs -o mode=1777 tmpfs "$0/dev/shm" &&
  exec chroot "$0" env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 sh -euc "$1"' "$root" "$1"; }

talk='
for u in ann bea; do getent passwd $u >/dev/null || useradd $u; install -d -o $u /home/$u; done
as() { u=$1; shift; setpriv --reuid $u --regid $u --clear-groups env HOME=/home/$u "$@"; }
as bea "$ptalk" recv --count 1 --timeout 60 >/tmp/got & receiver=$!
as ann "$ptalk" send bea hello --timeout 30 2>/dev/null || { sleep 3; as ann "$ptalk" send bea hello --timeout 30; }
wait $receiver; grep "ann.*: hello" /tmp/got'

check "the offline bundle installs with no network and an empty cache" offline

root=${PTALK_ROOT:-}
if [ "$(id -u)" -ne 0 ]; then
  echo "skipped: the executable and the .deb in a clean root (needs root)"
elif [ -z "$root" ] && ! command -v debootstrap >/dev/null; then
  echo "skipped: the executable and the .deb in a clean root (apt install debootstrap)"
else
  if [ -z "$root" ]; then
    root=$scratch/root
    check "debootstrap makes a root" debootstrap --variant=minbase bookworm "$root"
  fi
  deb=$(echo "$out"/ptalk_"$version"_"$(dpkg --print-architecture)".deb)
  arch=$(node -p process.arch)
  rm -rf "$root"/home/ann "$root"/home/bea
  cp "$out/ptalk-$version-linux-$arch" "$root/tmp/ptalk"
  check "no Node in the root" in_root '! command -v node'
  check "the executable: two users talk, with a server of their own" in_root "ptalk=/tmp/ptalk;$talk"
  before=$(cd "$root" && find etc/ptalk usr var/lib/ptalk run/ptalk -not -path '*/dpkg/*' -not -path '*/share/man*' 2>/dev/null | sort | md5sum)
  cp "$deb" "$root/tmp/ptalk.deb"
  check "the .deb installs" in_root 'dpkg -i --force-depends /tmp/ptalk.deb && getent passwd ptalk && test -d /run/ptalk || id ptalk'
  check "its man pages, units and settings are there" in_root \
    'test -f /etc/ptalk/config.toml && test -f /usr/lib/systemd/system/ptalk.service && ls /usr/share/man/man1/ptalk.1.gz'
  check "its settings are read" in_root 'ptalk config --show-origin'
  check "two users talk" in_root "ptalk=ptalk;$talk"
  # A newer version: the same files under another number.
  mkdir "$scratch/newer" && dpkg-deb -R "$deb" "$scratch/newer"
  sed -i "s/^Version: .*/Version: $version+1/" "$scratch/newer/DEBIAN/control"
  dpkg-deb -Znone --build "$scratch/newer" "$root/tmp/newer.deb" >/dev/null
  check "an upgrade leaves clients on" in_root "ptalk=ptalk
    for u in ann bea; do getent passwd \$u >/dev/null || useradd \$u; install -d -o \$u /home/\$u; done
    as() { u=\$1; shift; setpriv --reuid \$u --regid \$u --clear-groups env HOME=/home/\$u \"\$@\"; }
    as bea ptalk recv --count 1 --timeout 60 >/tmp/got & receiver=\$!
    sleep 3; dpkg -i --force-depends /tmp/newer.deb
    as ann ptalk send bea hello --timeout 30; wait \$receiver; grep 'ann.*: hello' /tmp/got"
  check "removed" in_root 'dpkg -r ptalk && ! test -e /usr/bin/ptalk && test -f /etc/ptalk/config.toml'
  check "purged" in_root 'dpkg -P ptalk && ! test -e /etc/ptalk && ! test -e /var/lib/ptalk && ! getent passwd ptalk'
  after=$(cd "$root" && find etc/ptalk usr var/lib/ptalk run/ptalk -not -path '*/dpkg/*' -not -path '*/share/man*' 2>/dev/null | sort | md5sum)
  check "nothing is left" [ "$before" = "$after" ]
fi
if command -v lintian >/dev/null; then check "lintian is content" lintian --allow-root --fail-on error,warning "$out"/ptalk_"$version"_*.deb; fi
if command -v systemd-analyze >/dev/null; then
  check "the units are well formed" env SYSTEMD_LOG_LEVEL=err systemd-analyze verify --man=no contrib/*.socket
  check "systemd-analyze security below 2.0" systemd-analyze security --offline=true --threshold=20 contrib/ptalk.service
  grep -h "Overall" "$scratch/said"
fi
echo "$failed failed"
[ "$failed" -eq 0 ]
