import { describe, expect, it } from 'vitest';
import { ggmlCodec } from '../../backends/ggml/weights/weight-codec.ts';
import type { BlockRows } from '../../checkpoint/types.ts';
import { scaledBlocks } from '../codec.ts';
import { concatRows, pickRows, sliceRows } from '../rows.ts';
import type { ParamSpec, RowSource } from '../types.ts';
import { keepStored } from './keep-stored.ts';
import { mapStored, withMapped } from './map-stored.ts';

const COLS = 64;
const ROW_BYTES = 40;

/** Rows of q4_1 in a file. */
function rowsAt(rows: number, offset: number, path = '/a.gguf'): RowSource {
  const blocks: BlockRows = {
    format: 'q4_1',
    rowBytes: ROW_BYTES,
    read: async (_, count) => new Uint8Array(count * ROW_BYTES),
    location: { path, offset },
  };
  return { rows, cols: COLS, read: async (_, count) => new Float32Array(count * COLS), blocks };
}

const spec = (name: string, rows: number): ParamSpec => ({
  name,
  shape: [rows, COLS],
  role: 'linear',
  format: 'f16',
});

function map(sources: Readonly<Record<string, RowSource>>, codec = ggmlCodec) {
  const specs = Object.entries(sources).map(([name, { rows }]) => spec(name, rows));
  const source = ({ name }: ParamSpec) => sources[name];
  return mapStored(keepStored(specs, source, codec), source, codec);
}

describe('mapStored', () => {
  it('finds matrices whose rows lie in a file as they are wanted', () => {
    const whole = rowsAt(32, 4096);
    const { mapped, rest } = map({
      whole,
      part: sliceRows(whole, 8, 8),
      'behind each other': concatRows([rowsAt(16, 320), rowsAt(16, 320 + 16 * ROW_BYTES)]),
      'with a gap': concatRows([rowsAt(16, 320), rowsAt(16, 352 + 16 * ROW_BYTES)]),
      'in two files': concatRows([rowsAt(16, 320), rowsAt(16, 320 + 16 * ROW_BYTES, '/b.gguf')]),
      'in another order': pickRows(whole, (row) => 31 - row, 32),
      'not aligned': rowsAt(32, 4104),
    });
    expect([...mapped.keys()]).toEqual(['whole', 'part', 'behind each other']);
    expect(mapped.get('whole')).toEqual({
      name: 'whole',
      dtype: 'q4_1',
      shape: [32, COLS],
      length: 32 * ROW_BYTES,
      path: '/a.gguf',
      offset: 4096,
      refined: true,
    });
    expect(mapped.get('part')).toMatchObject({ offset: 4096 + 8 * ROW_BYTES, length: 8 * ROW_BYTES });
    expect(mapped.get('behind each other')).toMatchObject({ offset: 320, length: 32 * ROW_BYTES });
    expect(rest.map(({ name }) => name)).toEqual(['with a gap', 'in two files', 'in another order', 'not aligned']);
  });

  it('maps nothing for an engine that stores weights in its own way', () => {
    const { mapped, rest } = map({ whole: rowsAt(32, 4096) }, scaledBlocks);
    expect(mapped.size).toBe(0);
    expect(rest).toHaveLength(1);
  });

  it('adds to what is prepared', () => {
    const { mapped } = map({ whole: rowsAt(32, 4096) });
    const prepared = { params: new Map(), size: 64, file: { folder: '/x', name: 'weights.bin' } };
    expect(withMapped(prepared, mapped)).toMatchObject({ params: mapped, size: 64 + 32 * ROW_BYTES });
    expect(withMapped(prepared, new Map())).toBe(prepared);
  });
});
