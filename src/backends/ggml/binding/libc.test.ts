import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { openGgml } from './binding.ts';
import { useLargePages } from './libc.ts';

/** The flags of the mapping that an address lies in. */
function flagsAt(address: bigint): string[] {
  let isHere = false;
  for (const line of readFileSync('/proc/self/smaps', 'utf8').split('\n')) {
    const range = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line);
    if (range) isHere = BigInt(`0x${range[1]}`) <= address && address < BigInt(`0x${range[2]}`);
    else if (isHere && line.startsWith('VmFlags:')) return line.slice(8).trim().split(' ');
  }
  return [];
}

describe.skipIf(!existsSync('/sys/kernel/mm/transparent_hugepage/enabled'))('useLargePages', () => {
  it('marks memory for large pages, and leaves small memory as it is', () => {
    const ggml = openGgml();
    const memory = new Uint8Array(2 ** 24);
    const address = ggml.addressOf(memory);
    const middle = address + BigInt(memory.length / 2);
    useLargePages(ggml, address, 2 ** 20);
    expect(flagsAt(middle)).not.toContain('hg');
    useLargePages(ggml, address, memory.length);
    expect(flagsAt(middle)).toContain('hg');
  });
});
