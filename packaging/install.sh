#!/usr/bin/env bash
# install.sh install|uninstall: what `make install` and `make uninstall` do.
#
# PREFIX   where programs go (/usr/local)
# DESTDIR  a folder to install into instead of the running system, for packages: nothing outside it is touched
# PURGE=1  uninstall removes the state too: registrations, the gateway's keys and devices, the group
# FORCE=1  uninstall goes on where a program that does not run still has Weft's DNS settings, as when it is gone for good
set -euo pipefail
cd "$(dirname "$0")/.."

prefix=${PREFIX:-/usr/local}
root=${DESTDIR:-}
built=${CARGO_TARGET_DIR:-target}/release
programs=(weft weftd weft-gateway)
units=(weftd.service weft-gateway.service)

bin=$prefix/bin
unit_dir=$prefix/lib/systemd/system
group_file=$prefix/lib/sysusers.d/weft.conf
completions=(
  "bash $prefix/share/bash-completion/completions/weft"
  "zsh $prefix/share/zsh/site-functions/_weft"
  "fish $prefix/share/fish/vendor_completions.d/weft.fish"
)

die() {
  echo "$0: $*" >&2
  exit 1
}

# Whether the running system is what is installed into.
live() { [ -z "$root" ]; }
has_systemd() { live && [ -d /run/systemd/system ]; }

need_root() {
  if live && [ "$(id -u)" != 0 ]; then die "run it as root, or give DESTDIR"; fi
}

make_group() {
  live || return 0
  if command -v systemd-sysusers >/dev/null; then
    systemd-sysusers "$group_file"
  elif ! grep -q '^weft:' /etc/group; then
    groupadd --system weft
  fi
}

install_all() {
  need_root
  local program unit shell path entry
  for program in "${programs[@]}"; do
    [ -x "$built/$program" ] || die "$built/$program is not there: run \`make build\` first"
  done
  for program in "${programs[@]}"; do
    install -D -m 0755 "$built/$program" "$root$bin/$program"
  done
  for unit in "${units[@]}"; do
    install -d -m 0755 "$root$unit_dir"
    sed "s|@BIN@|$bin|g" "packaging/systemd/$unit" >"$root$unit_dir/$unit"
    chmod 0644 "$root$unit_dir/$unit"
  done
  install -D -m 0644 packaging/sysusers.d/weft.conf "$root$group_file"
  for entry in "${completions[@]}"; do
    read -r shell path <<<"$entry"
    install -d -m 0755 "$root$(dirname "$path")"
    "$built/weft" completions "$shell" >"$root$path"
    chmod 0644 "$root$path"
  done
  make_group
  if has_systemd; then systemctl daemon-reload; fi
  cat <<TEXT
installed below $root$prefix
  a device:   systemctl enable --now weftd; usermod --append --groups weft USER; weft --help
  a gateway:  weft-gateway init; systemctl enable --now weft-gateway
TEXT
}

# With the daemon gone for good, nothing may go on blocking or redirecting the device.
undo_changes() {
  local code=0
  "$bin/weftd" --undo || code=$?
  case $code in
  0) ;;
  6)
    [ -n "${FORCE:-}" ] ||
      die "nothing was removed: do as weftd says (above), or, where that program is gone for good, give FORCE=1"
    ;;
  *) die "weftd could not undo its changes (above); nothing was removed" ;;
  esac
}

uninstall_all() {
  need_root
  local unit program entry
  if has_systemd; then
    for unit in "${units[@]}"; do
      systemctl disable --now "$unit" 2>/dev/null || true
    done
  fi
  if live && [ -x "$bin/weftd" ]; then undo_changes; fi
  for unit in "${units[@]}"; do rm -f "$root$unit_dir/$unit"; done
  for program in "${programs[@]}"; do rm -f "$root$bin/$program"; done
  for entry in "${completions[@]}"; do rm -f "$root${entry#* }"; done
  rm -f "$root$group_file"
  if has_systemd; then systemctl daemon-reload; fi
  if [ -n "${PURGE:-}" ]; then
    rm -rf "$root/var/lib/weft" "$root/var/lib/weft-gateway"
    if live && grep -q '^weft:' /etc/group; then groupdel weft; fi
    echo "removed, with all state"
  else
    echo "removed; /var/lib/weft and /var/lib/weft-gateway are kept (PURGE=1 removes them too)"
  fi
}

case "${1:-}" in
install) install_all ;;
uninstall) uninstall_all ;;
*) die "usage: $0 install|uninstall" ;;
esac
