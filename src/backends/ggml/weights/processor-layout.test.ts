/**
 * Blocks in the processor's order: prepared files hold them, and products read them where the file is mapped.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { noise } from '../../../../test/support/attention-cases.ts';
import { multiply as productOf } from '../../../../test/support/ggml-product.ts';
import { OpGraph } from '../../../ops/graph.ts';
import * as layers from '../../../ops/layers.ts';
import type { WeightCodec } from '../../../weights/codec.ts';
import { openPreparedWeights } from '../../../weights/prepared/store-node.ts';
import type { Param, PreparedWeights, RowSource } from '../../../weights/types.ts';
import { openGgml } from '../binding/binding.ts';
import { rowBytes } from '../binding/types.ts';
import { CpuBackend } from '../devices/cpu-backend.ts';
import { ggmlBackend } from '../ggml-backend.ts';
import { GgmlSession } from '../graph/session.ts';
import { arrangeRows, layoutOf } from './processor-layout.ts';
import { ggmlCodec, plainCodec } from './weight-codec.ts';
import { GgmlWeights } from './weights.ts';

const ggml = openGgml();
const backend = new CpuBackend(ggml, 2);
afterAll(() => backend.dispose());
const [ROWS, COLS, N] = [160, 512, 3];
const FORMATS = (['q4_0', 'q4_k', 'iq4_nl', 'q2_k', 'mxfp4', 'q8_0', 'f16'] as const).map(
  (format) => [format, layoutOf(ggml, format, ROWS, COLS)] as const,
);
const values = noise([ROWS, COLS], 3);
const source: RowSource = {
  rows: ROWS,
  cols: COLS,
  read: async (start, count) => values.slice(start * COLS, (start + count) * COLS),
};
const spec = (format: Param['format'], own: Partial<Param> = {}): Param => ({
  ...{ name: 'w.weight', shape: [ROWS, COLS], role: 'linear', format, parts: [], productsOnly: true },
  ...own,
});

async function prepared<T>(param: Param, codec: WeightCodec, use: (weights: PreparedWeights) => Promise<T>) {
  const cacheDir = await mkdtemp(join(tmpdir(), 'keyhold-layout-'));
  try {
    const format = param.format;
    return await use(
      await openPreparedWeights({ specs: [param], format, identity: 'x', source: () => source, codec, cacheDir }),
    );
  } finally {
    await rm(cacheDir, { recursive: true, force: true });
  }
}

const multiply = (param: Param, weights: PreparedWeights) =>
  productOf({ ggml, backend }, param, weights, noise([N, COLS], 5));

describe.each(FORMATS)('%s in a prepared file', (format, layout) => {
  it('is multiplied as blocks row after row are, without a copy', async () => {
    const param = spec(format);
    const plain = await prepared(param, plainCodec, (weights) => multiply(param, weights));
    const arranged = await prepared(param, ggmlCodec, (weights) => multiply(param, weights));
    expect(arranged.y).toEqual(plain.y);
    expect(arranged.copied).toBe(0);
    expect(plain.copied > 0).toBe(layout !== null && !layout.keepsOrder);
  });

  it('is in the same order whether rows are arranged at once or in groups', () => {
    if (!layout) return;
    const row = rowBytes(format, COLS);
    const bytes = Uint8Array.from({ length: ROWS * row }, (_, i) => (i * 31 + (i >> 9)) & 255);
    const whole = arrangeRows(ggml, layout, format, bytes, ROWS, COLS);
    const groups = [48, 16, 96].map((rows, i, all) => {
      const start = all.slice(0, i).reduce((sum, before) => sum + before, 0);
      return arrangeRows(ggml, layout, format, bytes.slice(start * row, (start + rows) * row), rows, COLS);
    });
    expect(Buffer.compare(Buffer.concat(groups), whole)).toBe(0);
    expect(Buffer.compare(whole, bytes) === 0).toBe(layout.keepsOrder);
  });
});

describe('a tied head', () => {
  /** Rows of the table, and their product with some rows. */
  async function useTied(param: Param, weights: PreparedWeights) {
    const g = new OpGraph(ggmlBackend.target);
    const table = g.param(param);
    g.output(layers.embed(g, g.input('ids', 'int64', [1, N]), table), 'rows');
    g.output(layers.linear(g, g.input('x', 'float32', [N, COLS]), table), 'y');
    const opened = new GgmlWeights(ggml, weights);
    const session = await GgmlSession.open(ggml, backend, g, opened);
    const { rows, y } = await session.run({
      ids: { data: BigInt64Array.from([0n, 17n, 159n]), dims: [1, N] },
      x: { data: noise([N, COLS], 5), dims: [N, COLS] },
    });
    const found = { copied: opened.rearranged, rows: Float32Array.from(rows.data), y: Float32Array.from(y.data) };
    await session.dispose();
    opened.dispose();
    return found;
  }

  it.each(['q4_0', 'q8_0', 'f16'] as const)(
    'in %s is stored once more where products have a layout',
    async (format) => {
      const own = { role: 'embedding', productsOnly: undefined } as const;
      const [table, head] = [spec(format, own), spec(format, { ...own, isHead: true })];
      const layout = layoutOf(ggml, format, ROWS, COLS);
      const parts = ggmlCodec.parts(head);
      expect(parts[0]).toEqual(plainCodec.parts(table)[0]);
      expect(parts.length).toBe(layout && !layout.keepsOrder ? 2 : 1);
      const plain = await prepared(table, plainCodec, (weights) => useTied(table, weights));
      const twice = await prepared(head, ggmlCodec, (weights) => useTied(head, weights));
      expect(twice.rows).toEqual(plain.rows);
      expect(twice.y).toEqual(plain.y);
      expect(twice.copied).toBe(0);
      expect(ggmlCodec.parts({ ...head, stored: format })).toHaveLength(1);
    },
  );
});

describe('what is stored in the processor’s order', () => {
  const hasLayout = (param: Param): boolean => ggmlCodec.parts(param)[0].layout !== undefined;

  it('is matrices that are only multiplied with, in whole groups of rows', () => {
    const isFast = layoutOf(ggml, 'q4_0', ROWS, COLS) !== null;
    expect(hasLayout(spec('q4_0'))).toBe(isFast);
    expect(hasLayout(spec('q4_0', { productsOnly: undefined }))).toBe(false);
    expect(hasLayout(spec('q4_0', { role: 'embedding', productsOnly: undefined }))).toBe(false);
    expect(hasLayout(spec('q4_0', { shape: [ROWS - 8, COLS] }))).toBe(false);
    expect(hasLayout(spec('float32'))).toBe(false);
    expect(plainCodec.parts(spec('q4_0'))[0].layout).toBeUndefined();
  });

  it('is made anew for another processor, in a file of its own', async () => {
    const param = spec('q4_0');
    const foreign: WeightCodec = {
      ...ggmlCodec,
      parts: (of) => ggmlCodec.parts(of).map((part) => ({ ...part, layout: 'another processor’s' })),
    };
    const cacheDir = await mkdtemp(join(tmpdir(), 'keyhold-layout-'));
    const common = { specs: [param], format: 'q4_0', identity: 'x', source: () => source, cacheDir } as const;
    const theirs = await openPreparedWeights({ ...common, codec: foreign });
    const ours = await openPreparedWeights({ ...common, codec: ggmlCodec });
    expect(ours.file.folder).not.toBe(theirs.file.folder);
    await expect(multiply(param, theirs)).rejects.toThrow(/another processor.*can't be read/);
    // Damage is found, and the file is made again.
    const path = join(ours.file.folder, ours.file.name);
    const whole = await readFile(path);
    await writeFile(
      path,
      whole.map((byte) => byte ^ 1),
    );
    await openPreparedWeights({ ...common, codec: ggmlCodec });
    expect(Buffer.compare(await readFile(path), whole)).toBe(0);
    await rm(cacheDir, { recursive: true });
  });
});
