import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { Sha256, sha256 } from './sha256.ts';

it('agrees with node:crypto at every length around a block', () => {
  for (let length = 0; length <= 200; length++) {
    const bytes = Uint8Array.from({ length: length + 3 }, (_, i) => (i * 131 + length) & 255).subarray(3);
    expect(sha256(bytes)).toBe(createHash('sha256').update(bytes).digest('hex'));
  }
});

it('takes text as UTF-8', () => {
  expect(sha256('Größe ✓')).toBe(createHash('sha256').update('Größe ✓').digest('hex'));
});

it('takes pieces of any lengths', () => {
  const bytes = Uint8Array.from({ length: 1000 }, (_, i) => (i * 37) & 255);
  for (const step of [1, 7, 63, 64, 65, 200]) {
    const hash = new Sha256();
    for (let at = 0; at < bytes.length; at += step) hash.update(bytes.subarray(at, at + step));
    expect(hash.digest(), `${step}`).toBe(createHash('sha256').update(bytes).digest('hex'));
  }
});
