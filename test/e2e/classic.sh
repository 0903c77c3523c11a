#!/bin/sh
# The main job as the users of the first Mosaic script it: `classic.sh basic|clone MOCTL CONFIG LOCATION DIRECTORY`.
# DIRECTORY is an empty one to work in. Ends with a line "done: ..." or, at the first thing that is wrong, "failed: ...".
set -eu

scenario=$1 moctl=$2 config=$3 location=$4 work=$5

fail() {
  echo "failed: $*"
  exit 1
}

mo() {
  "$moctl" "$config" "$@"
}

# Runs moctl, which must fail with the exit status $1 and say why.
refused() {
  expected=$1
  shift
  status=0
  said=$(mo "$@" 2>&1 >/dev/null) || status=$?
  [ "$status" -eq "$expected" ] || fail "moctl $*: exit status $status, expected $expected"
  [ -n "$said" ] || fail "moctl $*: it did not say why"
}

has_feature() {
  case " $(mo info) " in
  *" $1 "*) return 0 ;;
  *) return 1 ;;
  esac
}

expect_have() {
  answer=$(mo have "$1")
  [ "$answer" = "$1 exists: $2" ] || fail "have $1 answered \"$answer\", expected $2"
}

expect_empty_location() {
  left=$(ls -A "$location")
  [ -z "$left" ] || fail "left in the location: $left"
}

mount_volume() {
  mkdir -p "$work/$1"
  mo mount "$1" "$work/$1"
  mountpoint -q "$work/$1" || fail "$1 is not mounted"
}

umount_volume() {
  mo umount "$1" "$work/$1"
  ! mountpoint -q "$work/$1" || fail "$1 is still mounted"
}

fill() {
  echo "text in $1" >"$1/text"
  mkdir "$1/directory"
  ln -s ../text "$1/directory/link"
  dd if=/dev/urandom of="$1/directory/data" bs=64k count=16 status=none
}

same() {
  diff -rNq --exclude=lost+found "$work/$1" "$work/$2" || fail "$1 and $2 differ"
}

differ() {
  if diff -rNq --exclude=lost+found "$work/$1" "$work/$2" >/dev/null; then fail "$1 and $2 are the same"; fi
}

basic() {
  expect_have test_volume no
  mo new fs test_volume 512m
  expect_have test_volume yes
  refused 4 new fs test_volume 512m
  mount_volume test_volume
  fill "$work/test_volume"
  sum=$(cd "$work/test_volume" && cksum text directory/data)
  refused 5 drop test_volume
  umount_volume test_volume
  mount_volume test_volume
  [ "$(cd "$work/test_volume" && cksum text directory/data)" = "$sum" ] || fail "what was written is not there"
  umount_volume test_volume
  if has_feature bdev; then attach_and_detach; else refused 8 attach test_volume; fi
  mo drop test_volume
  expect_have test_volume no
  refused 3 drop test_volume
  expect_empty_location
}

attach_and_detach() {
  line=$(mo attach test_volume)
  device=${line#Device: }
  [ "$line" = "Device: $device" ] || fail "attach answered \"$line\""
  [ -b "$device" ] || fail "$device is no device"
  [ "$(blockdev --getsize64 "$device")" -eq $((512 * 1024 * 1024)) ] || fail "$device has another size"
  refused 5 attach test_volume
  mount_volume test_volume
  [ "$(cd "$work/test_volume" && cksum text directory/data)" = "$sum" ] || fail "the device has other data"
  refused 5 detach test_volume
  umount_volume test_volume
  mo detach test_volume
  refused 3 detach test_volume
}

clone() {
  mo create fs orig_fs 512m
  mount_volume orig_fs
  fill "$work/orig_fs"
  umount_volume orig_fs
  mo clone orig_fs clone_1
  mount_volume orig_fs
  mo clone orig_fs clone_2
  mount_volume clone_1
  mount_volume clone_2
  same orig_fs clone_1
  same orig_fs clone_2
  echo more >"$work/clone_2/more"
  differ orig_fs clone_2
  same orig_fs clone_1
  mo clone clone_2 clone_3
  mount_volume clone_3
  same clone_2 clone_3
  refused 4 clone orig_fs clone_1
  umount_volume orig_fs
  mo drop orig_fs
  for volume in clone_1 clone_2 clone_3; do
    umount_volume $volume
    mount_volume $volume
  done
  same clone_2 clone_3
  differ clone_1 clone_2
  rm "$work/clone_2/more"
  same clone_1 clone_2
  for volume in clone_1 clone_2 clone_3; do
    umount_volume $volume
    mo drop $volume
    expect_have $volume no
  done
  expect_empty_location
}

case $scenario in
basic) basic ;;
clone) clone ;;
*) fail "there is no scenario $scenario" ;;
esac
echo "done: $scenario"
