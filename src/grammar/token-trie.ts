/**
 * @file The tokens of a vocabulary by their bytes.
 */

/** The bytes of each token; null for those that have no text. */
export type TokenBytes = readonly (Uint8Array | null)[];

/**
 * A trie in preorder: the subtree of node n is n to `after[n]`. Node 0 is the root.
 */
export class TokenTrie {
  readonly bytes: TokenBytes;
  readonly byte: Uint8Array;
  readonly depth: Uint16Array;
  readonly after: Int32Array;
  /** Tokens in the order of their bytes; those that end at node n are `first[n]` to `first[n + 1]`. */
  readonly tokens: Int32Array;
  readonly first: Int32Array;
  /** Bytes of the longest token. */
  readonly longest: number;

  /** Tokens without bytes are left out: they would never end. */
  constructor(bytes: TokenBytes) {
    this.bytes = bytes;
    // Sorting strings of one character a byte is ten times as fast as comparing arrays.
    const named: [string, number][] = [];
    for (const [token, own] of bytes.entries())
      if (own && own.length > 0 && own.length <= 0xffff) named.push([String.fromCharCode(...own), token]);
    named.sort(([a, tokenA], [b, tokenB]) => (a < b ? -1 : a > b ? 1 : tokenA - tokenB));
    let count = 1;
    let before = '';
    for (const [name] of named) {
      count += name.length - shared(before, name);
      before = name;
    }
    this.byte = new Uint8Array(count);
    this.depth = new Uint16Array(count);
    this.after = new Int32Array(count);
    this.first = new Int32Array(count + 1);
    this.tokens = Int32Array.from(named, ([, token]) => token);
    this.longest = named.reduce((most, [name]) => Math.max(most, name.length), 0);
    const path = [0];
    let node = 1;
    before = '';
    for (const [i, [name]] of named.entries()) {
      const common = shared(before, name);
      while (path.length > common + 1) this.after[path.pop()!] = node;
      for (let depth = common; depth < name.length; depth++, node++) {
        this.byte[node] = name.charCodeAt(depth);
        this.depth[node] = depth + 1;
        this.first[node] = i;
        path.push(node);
      }
      before = name;
    }
    for (const open of path) this.after[open] = count;
    this.first[count] = named.length;
  }
}

function shared(a: string, b: string): number {
  let length = 0;
  while (length < a.length && length < b.length && a.charCodeAt(length) === b.charCodeAt(length)) length++;
  return length;
}
