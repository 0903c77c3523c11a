#!/bin/bash
# Stands in for ploop(8), which runs on kernels of OpenVZ only: its commands mount, info -d and umount for disks of one image, with
# its words and exit statuses. The device is a loop device of the image's content, which is written back in the end; that of the
# partition is another one, as not every kernel looks for partitions.
set -eu
state=@STATE@
descriptor=${!#}
image=$(dirname "$descriptor")/$(sed -n 's|.*<File>\(.*\)</File>.*|\1|p' "$descriptor")
shown=$state/$(sha256sum <<<"$descriptor" | cut -c 1-16)
echo "$*" >>"$state/calls"
[[ ! -e $state/fail ]] || [[ $* != "$(<"$state/fail")"* ]] || exit 21

case $1 in
info)
  [[ -e $shown.device ]] || exit 40
  read -r disk partition <"$shown.device"
  printf 'device:\t\t%s\n' "$disk"
  [[ -z $partition ]] || printf 'partition:\t%s\n' "$partition"
  ;;
mount)
  [[ ! -e $shown.device ]] || exit 37
  qemu-img convert -f parallels -O raw "$image" "$shown"
  flags=()
  [[ $2 != -r ]] || flags=(--read-only)
  disk=$(losetup --find --show "${flags[@]}" "$shown") partition=
  if read -r start sectors < <(partx --noheadings --raw --output START,SECTORS "$shown" 2>/dev/null); then
    place=(--offset "$((start * 512))" --sizelimit "$((sectors * 512))")
    partition=$(losetup --find --show "${flags[@]}" "${place[@]}" "$shown")
  fi
  echo "$disk $partition" >"$shown.device"
  ;;
umount)
  [[ -e $shown.device ]] || exit 40
  read -r -a devices <"$shown.device"
  for device in "${devices[@]}"; do
    ! grep -qsx "$device" /sys/block/loop*/loop/backing_file || exit 22
  done
  read_only=$(<"/sys/block/${devices[0]#/dev/}/ro")
  for device in "${devices[@]}"; do
    losetup --detach "$device"
    while [[ -e /sys/block/${device#/dev/}/loop ]]; do sleep 0.01; done
  done
  ((read_only)) || qemu-img convert -n -f raw -O parallels "$shown" "$image"
  rm "$shown" "$shown.device"
  ;;
*) exit 38 ;;
esac
