/**
 * Copies the state of an idle engine, and restores it.
 *
 * Between two messages, PostgreSQL's whole state is in the WebAssembly memory and in the files of the
 * in-memory file system. Restoring a copy of both takes about 50 ms; starting an engine takes seconds.
 *
 * An engine that has loaded code since the copy cannot be restored: the code would be missing in the
 * memory, but the loader would consider it loaded. `canRestore` tells.
 */

const PAGE_BYTES = 65536;
const EMPTY_PAGE = Buffer.alloc(PAGE_BYTES);

// Every library adds its functions to the engine's function table. Nothing else shows from outside that
// one was loaded.
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

  /** Whether no library was loaded since the copy. */
  canRestore() {
    return tableGrowths === this.#tableGrowths;
  }

  restore() {
    restoreMemory(this.#module.HEAPU8, this.#pages);
    restoreFiles(this.#module.FS, this.#tree);
  }
}

/** The pages of the memory; null for a page of zeros, which four in five are. */
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
  memory.fill(0, pages.length * PAGE_BYTES); // pages added since the copy; memory cannot shrink
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

/** The nodes in the name table, whose slots are linked lists. */
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
    // Reuse the buffer of the file if it is long enough; it mostly is.
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
    kept.stream.fd = descriptor; // closing a stream deletes its number
    kept.stream.position = kept.position;
    kept.stream.flags = kept.flags;
  });
}
