import { expect, test } from "bun:test";
import type { CheckFinding, HostInfo, MosaicInfo, VolumeDetails } from "../../src/api/results.ts";
import { MosaicError } from "../../src/base/errors.ts";
import { parseStoredName, parseVolumeName } from "../../src/base/names.ts";
import { formatText } from "../../src/cli/text.ts";

const HOST: HostInfo = {
  kernel: {
    release: "6.1.0",
    features: [
      { name: "openat2", since: "5.6", isRequired: true, isThere: true },
      { name: "diskseq", since: "5.15", isRequired: false, isThere: false },
    ],
  },
  packages: [
    { name: "e2fsprogs", version: "1.47.0", tools: ["mkfs.ext4", "tune2fs"], missing: [] },
    { name: "util-linux", version: null, tools: ["blkid"], missing: ["blkid"] },
  ],
};

const MOSAIC: MosaicInfo & { host: HostInfo } = {
  name: "vm",
  type: "loop",
  location: "/srv/images",
  config: "/etc/mosaic/vm.mos",
  features: ["clone", "bdev", "volsize"],
  limits: {
    kinds: ["fs", "disk"],
    sizesAreKept: true,
    sizeIsRequired: true,
    sizeMinBytes: 4096,
    sizeMaxBytes: 16 * 1024 ** 4,
    sizeStepBytes: 4096,
    filesystems: { ext4: 8 * 1024 ** 2 },
    names: { maxBytes: 255, groupMaxBytes: 128, maxGroups: 8, groupPattern: "^[a-z]+$" },
  },
  space: { filesystem: "xfs", sizeBytes: 1024 ** 3, usedBytes: 1024 ** 2, availableBytes: 1000 },
  pool: null,
  host: HOST,
};

const DETAILS: VolumeDetails = {
  id: "0b2c6a4e-0000-4000-8000-000000000001",
  name: parseVolumeName("web"),
  storedName: parseStoredName("w/eb"),
  backend: "loop",
  kind: "fs",
  filesystem: "ext4",
  sizeBytes: 512 * 1024 ** 2,
  parentId: null,
  createdAt: "2026-11-27T00:00:00.000Z",
  labels: { owner: "ops" },
  parent: null,
  attachedAs: null,
  mountedAt: ["/srv/a\nforged: line"],
  clones: ["web-1", "web-2"],
  virtualBytes: 512 * 1024 ** 2,
  allocatedBytes: 1536,
  exclusiveBytes: null,
  image: null,
  inside: { sizeBytes: 2048, usedBytes: 1024 },
  holders: [{ kind: "process", pid: 7, command: "qemu", path: "/srv/images/w/eb" }],
};

test("what a mosaic is begins with the line of its features", () => {
  expect(formatText("info", MOSAIC)).toBe(
    [
      "features: clone bdev volsize",
      "type: loop",
      "location: /srv/images",
      "kinds: fs disk",
      "sizes: needed, multiples of 4096, at most 16T (17592186044416)",
      "filesystems: ext4 from 8M",
      "names: at most 255 bytes, 8 groups of 128, each ^[a-z]+$",
      "space: 1G (1073741824) xfs, 1M (1048576) used, 1000 (1000) available",
      "kernel: 6.1.0 with openat2, without diskseq (Linux 5.15)",
      "tools: e2fsprogs 1.47.0, util-linux (missing) without blkid",
      "",
    ].join("\n"),
  );
});

test("a mosaic without features, filesystems and tools says so", () => {
  const limits = { ...MOSAIC.limits, sizesAreKept: false, filesystems: {} };
  const text = formatText("info", { ...MOSAIC, features: [], limits, host: { ...HOST, packages: [] } });
  expect(text).toStartWith("features:\ntype: loop\n");
  expect(text).toContain("\nsizes: recorded, not kept\nnames: ");
  expect(text).toEndWith("\ntools: none needed\n");
});

test("how well a pool is has a line", () => {
  const pool = {
    mode: "ro",
    needsCheck: true,
    transaction: 7,
    dataBytes: 1024 ** 3,
    usedDataBytes: 512 * 1024 ** 2,
    metadataBytes: 16 * 1024 ** 2,
    usedMetadataBytes: 1024 ** 2,
  } as const;
  expect(formatText("info", { ...MOSAIC, pool })).toContain(
    "\npool: ro, needs a check, 512M of 1G data, 1M of 16M metadata, transaction 7\nkernel: ",
  );
  expect(formatText("info", { ...MOSAIC, pool: { ...pool, mode: "inactive" } })).toContain(
    "\npool: inactive\nkernel: ",
  );
});

test("all about a volume is one line for each thing, and no text forges one", () => {
  expect(formatText("info", DETAILS)).toBe(
    [
      "name: web",
      "kind: fs",
      "filesystem: ext4",
      "parent: -",
      "clones: web-1 web-2",
      "asked: 512M (536870912)",
      "virtual: 512M (536870912)",
      "allocated: 1.5K (1536)",
      "exclusive: -",
      "shared: -",
      "inside: 2K (2048), 1K (1024) used",
      "image: -",
      "attached: -",
      "mounted: /srv/a\\x0aforged: line",
      'holders: open in process 7 (qemu): "/srv/images/w/eb"',
      "labels: owner=ops",
      "id: 0b2c6a4e-0000-4000-8000-000000000001",
      "created: 2026-11-27T00:00:00.000Z",
      "stored: w/eb",
      "",
    ].join("\n"),
  );
});

test("a report has a line for each finding, what mends it, and the numbers at its end", () => {
  const finding: CheckFinding = {
    code: "leftover",
    severity: "problem",
    subject: "/l/.mosaic/x",
    message: "it is left",
    advice: null,
    isRepairable: true,
    isRepaired: false,
    error: null,
  };
  const findings: CheckFinding[] = [
    finding,
    { ...finding, isRepaired: true },
    { ...finding, error: new MosaicError("BUSY", "it is busy") },
    { ...finding, severity: "note", code: "foreign", isRepairable: false, advice: "moctl x adopt fs y" },
  ];
  expect(formatText("check", { findings, problems: 2 })).toBe(
    [
      "problem: leftover: /l/.mosaic/x: it is left (--repair mends it)",
      "repaired: leftover: /l/.mosaic/x: it is left",
      "problem: leftover: /l/.mosaic/x: it is left; the repair failed: it is busy",
      "note: foreign: /l/.mosaic/x: it is left (moctl x adopt fs y)",
      "problems: 2, repaired: 1, notes: 1",
      "",
    ].join("\n"),
  );
});
