/**
 * Takes a picture of an idle engine and puts the engine back to it.
 *
 * Everything that PostgreSQL knows between two messages is in the WebAssembly memory and in the
 * files of the in-memory file system. A copy of both is a database that can be had again in about
 * 50 ms, while starting an engine takes seconds.
 *
 * Code that was loaded after the picture was taken would be forgotten by the memory and remembered
 * by the loader: `canRestore` tells, and the caller throws such an engine away.
 */

const PAGE_BYTES = 65536;
const EMPTY_PAGE = Buffer.alloc(PAGE_BYTES);

// Every library adds its functions to the engine's table of them; nothing else tells from outside
// that one was loaded.
let tableGrowths = 0;
const { grow } = WebAssembly.Table.prototype;
WebAssembly.Table.prototype.grow = function countAndGrow(...parameters) {
  tableGrowths += 1;
  return grow.apply(this, parameters);
};

export class Snapshot {
  #module;
  #tableGrowths = tableGrowths;
  #pages;
  #tree;

  /** @param module The Emscripten module of an engine that runs nothing. */
  constructor(module) {
    this.#module = module;
    this.#pages = copyMemory(module.HEAPU8);
    this.#tree = copyFiles(module.FS);
  }

  /** Whether no library was loaded since. */
  canRestore() {
    return tableGrowths === this.#tableGrowths;
  }

  restore() {
    restoreMemory(this.#module.HEAPU8, this.#pages);
    restoreFiles(this.#module.FS, this.#tree);
  }
}

/** The pages of the memory; null stands for one full of zeros, as four in five are. */
function copyMemory(memory) {
  const pages = [];
  for (let start = 0; start < memory.length; start += PAGE_BYTES) {
    const page = memory.subarray(start, start + PAGE_BYTES);
    pages.push(EMPTY_PAGE.equals(page) ? null : page.slice());
  }
  return pages;
}

function restoreMemory(memory, pages) {
  pages.forEach((page, number) => {
    const start = number * PAGE_BYTES;
    if (page === null) memory.fill(0, start, start + PAGE_BYTES);
    else memory.set(page, start);
  });
  memory.fill(0, pages.length * PAGE_BYTES); // what it has grown by since; it cannot shrink
}

/** Folders with their entries, files with their bytes, the name table and the open streams. */
function copyFiles(FS) {
  const folders = [];
  const files = [];
  const visit = (node) => {
    if (FS.isDir(node.mode)) {
      folders.push({ node, entries: { ...node.contents } });
      Object.values(node.contents).forEach(visit);
    } else if (FS.isFile(node.mode)) {
      const bytes = node.contents ? node.contents.slice(0, node.usedBytes) : null;
      files.push({ node, bytes, size: node.usedBytes });
    }
  };
  visit(FS.root);
  const streams = FS.streams.map(
    (stream) => stream && { stream, position: stream.position, flags: stream.flags },
  );
  return { folders, files, named: namedNodes(FS), streams };
}

/** Every node that can be looked up by name; the table's slots are linked lists. */
function namedNodes(FS) {
  const nodes = [];
  for (const first of FS.nameTable) {
    for (let node = first; node; node = node.name_next) nodes.push(node);
  }
  return nodes;
}

function restoreFiles(FS, tree) {
  for (const { node, entries } of tree.folders) node.contents = { ...entries };
  for (const { node, bytes, size } of tree.files) {
    // The file's own buffer is used again where it is long enough, and it mostly is.
    if (bytes !== null && node.contents?.length >= size) node.contents.set(bytes);
    else node.contents = bytes && bytes.slice();
    node.usedBytes = size;
  }
  FS.nameTable.fill(undefined);
  for (const node of tree.named) FS.hashAddNode(node);
  FS.streams.length = tree.streams.length;
  tree.streams.forEach((kept, descriptor) => {
    FS.streams[descriptor] = kept && kept.stream;
    if (!kept) return;
    kept.stream.fd = descriptor; // closing a stream takes its number away
    kept.stream.position = kept.position;
    kept.stream.flags = kept.flags;
  });
}
