import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ARCHITECTURES } from './table.ts';

describe('the table of GGUF architectures', () => {
  const names = ARCHITECTURES.flatMap((row) => row.names);

  it('has each name once', () => {
    expect(names).toHaveLength(new Set(names).size);
    expect(names.length).toBeGreaterThan(75);
  });

  it('is what docs/gguf.md lists as read, and nothing of it is listed as not read', async () => {
    const page = await readFile(join(import.meta.dirname, '../../../../docs/gguf.md'), 'utf8');
    const [, read, refused] = /\*\*Architectures\.\*\*(.*?)\nThese names of llama.cpp are not read(.*?)\n\n/s.exec(
      page,
    )!;
    const words = (text: string) => new Set(text.match(/[a-z][a-z0-9_-]*/g));
    expect(names.filter((name) => !words(read).has(name))).toEqual([]);
    expect(names.filter((name) => words(refused).has(name))).toEqual([]);
  });
});
