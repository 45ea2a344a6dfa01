import { describe, expect, it } from 'vitest';
import { ggmlCodec } from '../../backends/ggml/weights/weight-codec.ts';
import type { BlockFormat } from '../../checkpoint/types.ts';
import { concatRows } from '../rows.ts';
import type { Param, ParamPart, RowSource } from '../types.ts';
import { keepStored, pieceName } from './keep-stored.ts';

const COLS = 256;
const FORMATS: Readonly<Record<string, BlockFormat | undefined>> = { q: 'q4_k', k: 'q4_k', v: 'q6_k', w: undefined };

function part({ name, rows }: ParamPart): RowSource {
  const format = FORMATS[name];
  const read = async (_: number, count: number) => new Float32Array(count * COLS);
  const blocks = format && { format, rowBytes: 144, read: async (_: number, n: number) => new Uint8Array(n * 144) };
  return { rows, cols: COLS, read, ...(blocks ? { blocks } : {}) };
}
const source = ({ parts }: Param): RowSource => concatRows(parts.map(part));
const param = (names: string, separable: boolean): Param => ({
  name: 'qkv',
  shape: [8 * names.length, COLS],
  role: 'linear',
  format: 'f16',
  parts: [...names].map((name) => ({ name, rows: 8, cols: COLS })),
  ...(separable ? { separable } : {}),
});
const storedAs = (names: string, separable = true, keeps = (_: string) => true) =>
  keepStored([param(names, separable)], source, ggmlCodec, keeps).map(({ name, shape, stored, parts }) => ({
    name,
    rows: shape[0],
    stored,
    parts: parts.map((each) => each.name).join(''),
  }));

describe('a parameter whose pieces have different formats', () => {
  it('becomes one for each run of a format', () => {
    expect(storedAs('qkv')).toEqual([
      { name: pieceName('qkv', 0), rows: 16, stored: 'q4_k', parts: 'qk' },
      { name: pieceName('qkv', 1), rows: 8, stored: 'q6_k', parts: 'v' },
    ]);
    expect(storedAs('qvk').map(({ parts }) => parts)).toEqual(['q', 'v', 'k']);
    expect(storedAs('wv')).toEqual([
      { name: pieceName('qkv', 0), rows: 8, stored: undefined, parts: 'w' },
      { name: pieceName('qkv', 1), rows: 8, stored: 'q6_k', parts: 'v' },
    ]);
  });

  it('stays one where all are equal, where none is kept, and where its products have to be one', () => {
    const whole = { name: 'qkv', rows: 24, stored: undefined, parts: 'qkv' };
    expect(storedAs('qk')).toEqual([{ name: 'qkv', rows: 16, stored: 'q4_k', parts: 'qk' }]);
    expect(storedAs('qkv', true, () => false)).toEqual([whole]);
    expect(storedAs('qkv', false)).toEqual([whole]);
    expect(storedAs('ww')).toEqual([{ name: 'qkv', rows: 16, stored: undefined, parts: 'ww' }]);
  });
});
