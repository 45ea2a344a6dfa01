/**
 * Products in the processor's layouts are right for small matrices, too, and for as many rows as chunks have.
 */
import { afterAll, expect, it } from 'vitest';
import { noise } from '../../../../test/support/attention-cases.ts';
import { multiply } from '../../../../test/support/ggml-product.ts';
import { tempFolder } from '../../../../test/support/temp-folder.ts';
import { openPreparedWeights } from '../../../weights/prepared/store-node.ts';
import type { Param } from '../../../weights/types.ts';
import { openGgml } from '../binding/binding.ts';
import { blockLength } from '../binding/types.ts';
import { CpuBackend } from '../devices/cpu-backend.ts';
import { ggmlCodec } from '../weights/weight-codec.ts';

const ggml = openGgml();
const backend = new CpuBackend(ggml, 2);
afterAll(() => backend.dispose());
const cacheDir = await tempFolder('fast-buffers');
/** More than 32, with which AMX takes its large tiles. */
const TOKENS = 40;

/** The product, and what it is in double precision, as the error's part of the whole. */
async function productError(format: Param['format'], rows: number, cols: number): Promise<number> {
  const values = noise([rows, cols], 3);
  const x = noise([TOKENS, cols], 5);
  const read = async (start: number, count: number) => values.slice(start * cols, (start + count) * cols);
  const param: Param = {
    ...{ name: 'w', shape: [rows, cols], role: 'linear', format, parts: [], productsOnly: true },
  };
  const weights = await openPreparedWeights({
    ...{ specs: [param], format, identity: `${rows} ${cols}`, codec: ggmlCodec, cacheDir },
    source: () => ({ rows, cols, read }),
  });
  const { y } = await multiply({ ggml, backend }, param, weights, x);
  let [error, whole] = [0, 0];
  for (let t = 0; t < TOKENS; t++)
    for (let r = 0; r < rows; r++) {
      let sum = 0;
      for (let c = 0; c < cols; c++) sum += x[t * cols + c] * values[r * cols + c];
      error += (sum - y[t * rows + r]) ** 2;
      whole += sum * sum;
    }
  return Math.sqrt(error / whole);
}

/** The largest error of a format's products, as a part. */
const LIMITS = {
  q4_0: 0.1,
  q4_1: 0.1,
  iq4_nl: 0.1,
  mxfp4: 0.15,
  q5_0: 0.05,
  q8_0: 0.01,
  q4_k: 0.1,
  q6_k: 0.02,
} as const;

it.each(Object.entries(LIMITS))('%s', async (format, limit) => {
  const block = blockLength(format as keyof typeof LIMITS);
  for (const rows of [32, 64, 96])
    for (const blocks of [1, 2, 3])
      expect(
        await productError(format as keyof typeof LIMITS, rows, blocks * block),
        `${rows}, ${blocks}`,
      ).toBeLessThan(limit);
});
