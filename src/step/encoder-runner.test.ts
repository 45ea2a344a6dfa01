import { describe, expect, it } from 'vitest';
import { readGolden } from '../../test/parity/case.ts';
import { caseFolder, MORE_CASES } from '../../test/support/family-cases.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import { type EncodeResult, loadEncoder, loadModel } from '../node.ts';
import { InputError } from '../util/errors.ts';

const cacheDir = await tempFolder('encode');
const load = (name: string, part?: string) =>
  loadEncoder(name.includes('/') ? name : caseFolder(name), { weights: 'float32', cacheDir, part });
const IDS = [5, 17, 23, 8, 11, 20, 12, 24, 7, 29];

/** What belongs to a row. */
function rowOf({ data, shape, lengths }: EncodeResult, row: number): Float32Array {
  const [, T, width] = shape;
  return data.slice(row * T * width, (row * T + lengths[row]) * width);
}

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, most = 2e-5): void {
  expect(actual.length).toBe(expected.length);
  expect(Math.max(...Array.from(actual, (x, i) => Math.abs(x - expected[i])))).toBeLessThan(most);
}

describe('an encoder', () => {
  it('gives rows of different lengths what each gets alone', async () => {
    const rows = [IDS, IDS.slice(2, 5), IDS.slice(1)];
    for (const name of ['esm', `${MORE_CASES}/esm-absolute`, `${MORE_CASES}/gemma3-embedding`]) {
      await using model = await load(name);
      const together = await model.encode({ ids: rows }, { output: 'hidden' });
      expect(together.shape).toEqual([3, 10, model.config.nEmbd]);
      expect(together.lengths).toEqual([10, 3, 9]);
      for (const [i, row] of rows.entries())
        expectClose(rowOf(together, i), (await model.encode({ ids: [row] }, { output: 'hidden' })).data);
    }
    await using clvp = await load(`${MORE_CASES}/clvp_encoder`);
    const pooled = await clvp.encode({ ids: rows });
    expect(pooled.shape).toEqual([3, clvp.config.projectionDim]);
    expectClose(pooled.data.subarray(20, 40), (await clvp.encode({ ids: [rows[1]] })).data);
  });

  it('sees both ways, unless it is causal', async () => {
    const changed = [...IDS.slice(0, 9), 21];
    await using esm = await load('esm');
    const [a, b] = [await esm.encode({ ids: [IDS] }), await esm.encode({ ids: [changed] })];
    expect(a.data.slice(0, 33)).not.toEqual(b.data.slice(0, 33));
    await using mimi = await load('mimi_transformer');
    const vectors = Float32Array.from({ length: 10 * 32 }, (_, i) => Math.sin(i));
    const other = vectors.slice();
    other[9 * 32] += 1;
    const [c, d] = [await mimi.encode({ vectors: [vectors] }), await mimi.encode({ vectors: [other] })];
    expectClose(c.data.slice(0, 9 * 32), d.data.slice(0, 9 * 32), 1e-6);
    expect(c.data.slice(9 * 32)).not.toEqual(d.data.slice(9 * 32));
  });

  it('does not see what a mask hides, and what the masked tokens are does not matter', async () => {
    await using model = await load('esm');
    const mask = [[1, 1, 1, 1, 1, 1, 1, 0, 0, 0]];
    const hidden = await model.encode({ ids: [IDS] }, { mask });
    const short = await model.encode({ ids: [IDS.slice(0, 7)] });
    expectClose(hidden.data.slice(0, 7 * 33), short.data);
    const padded = await model.encode({ ids: [[...IDS.slice(0, 7), 1, 1, 1]] }, { mask });
    expectClose(padded.data.slice(0, 7 * 33), short.data);
  });

  it('takes positions: a shift changes nothing, a stretch does', async () => {
    await using model = await load('esm');
    const run = async (position: (t: number) => number) =>
      (await model.encode({ ids: [IDS] }, { positions: [IDS.map((_, t) => position(t))] })).data;
    const plain = (await model.encode({ ids: [IDS] })).data;
    expectClose(await run((t) => t), plain, 1e-6);
    expectClose(await run((t) => t + 7), plain, 1e-4);
    const stretched = await run((t) => 3 * t);
    expect(Math.max(...stretched.map((x, i) => Math.abs(x - plain[i])))).toBeGreaterThan(0.1);
  });

  it('encodes images of different sizes together', async () => {
    await using model = await load('pixtral_vision');
    const image = (width: number, height: number, seed: number) => ({
      pixels: Float32Array.from({ length: 3 * width * height }, (_, i) => Math.sin(seed + i * 0.7)),
      width,
      height,
    });
    const images = [image(8, 32, 1), image(24, 16, 2)];
    const together = await model.encode({ images });
    expect(together.lengths).toEqual([4, 6]);
    for (const [i, one] of images.entries())
      expectClose(rowOf(together, i), (await model.encode({ images: [one] })).data);
    // Where a patch lies counts: the same patches in a row are another image.
    const flat = await model.encode({ images: [{ ...image(8, 32, 1), width: 32, height: 8 }] });
    expect(flat.data).not.toEqual((await model.encode({ images: [images[0]] })).data);
  });

  it('scales what is left where masked tokens are dropped', async () => {
    await using model = await load(`${MORE_CASES}/esm-dropout`);
    const golden = await readGolden(`${MORE_CASES}/esm-dropout/expected.safetensors`);
    const ids = Array.from(golden.get('input_ids')!.data.subarray(0, 24));
    expectClose((await model.encode({ ids: [ids] })).data, golden.get('hidden')!.data.subarray(0, 24 * 33), 2e-4);
    await expect(model.encode({ ids: [[32, 32]] })).rejects.toThrow(/nothing but masked tokens/);
  });

  it('is one of several in a checkpoint', async () => {
    const folder = `${MORE_CASES}/clvp`;
    await using text = await load(folder, 'text');
    await using speech = await load(folder, 'speech');
    await using decoder = await load(folder);
    expect([text.config.vocabSize, speech.config.vocabSize, decoder.config.output]).toEqual([97, 61, 'logits']);
    await expect(load(folder, 'vision')).rejects.toThrow(/has no part "vision"; it has decoder, text, speech/);
    await expect(load('llama', 'text')).rejects.toThrow(/a llama model has no parts, but "text" was asked for/);
  });

  it('refuses what is not for it', async () => {
    await using esm = await load('esm');
    await using pixtral = await load('pixtral_vision');
    await using mimi = await load('mimi_transformer');
    const image = (width: number, height: number, count = 3 * width * height) => ({
      images: [{ pixels: new Float32Array(count), width, height }],
    });
    const refusals: [() => Promise<unknown>, RegExp][] = [
      [() => esm.encode({ vectors: [new Float32Array(32)] }), /esm models take token ids, but vectors were given/],
      [() => esm.encode({ ids: [] }), /nothing to encode/],
      [() => esm.encode({ ids: [[5], []] }), /row 1 is empty/],
      [() => esm.encode({ ids: [[5, 33]] }), /token id 33 \(row 0, token 1\) is not in the model's vocabulary of 33/],
      [() => esm.encode({ ids: [[5]] }, { mask: [[1, 1]] }), /mask of row 0 has 2 entries, but the row 1/],
      [() => esm.encode({ ids: [[5]] }, { mask: [] }), /mask has 0 rows, but there are 1/],
      [() => esm.encode({ ids: [[5]] }, { mask: [[0]] }), /mask hides all of row 0/],
      [() => esm.encode({ ids: [[5]] }, { positions: [[1, 2]] }), /row 0 is 1 long, but has 2 positions/],
      [
        () => esm.encode({ ids: [[5]] }, { output: 'pooled' }),
        /give masked-logits or hidden, but "pooled" was asked for/,
      ],
      [() => pixtral.encode(image(12, 8)), /image 0 is 12 x 8, which is not cut into squares of 8 pixels/],
      [() => pixtral.encode(image(40, 8)), /made for up to 32 a side/],
      [() => pixtral.encode(image(8, 8, 5)), /image 0 has 5 numbers instead of 3 x 8 x 8/],
      [() => mimi.encode({ vectors: [new Float32Array(33)] }), /row 0 must hold vectors of 32 numbers/],
    ];
    for (const [run, message] of refusals) {
      await expect(run()).rejects.toThrow(InputError);
      await expect(run()).rejects.toThrow(message);
    }
    await expect(loadModel(caseFolder('esm'), { cacheDir })).rejects.toThrow(
      /esm models are encoders, which write no text: use loadEncoder\(\) instead/,
    );
  });
});
