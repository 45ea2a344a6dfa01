/**
 * Graphs of one backend have their results in the same memory, one after the other.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { noise } from '../../../../test/support/attention-cases.ts';
import { tempFolder } from '../../../../test/support/temp-folder.ts';
import { unary } from '../../../ops/basic.ts';
import { OpGraph } from '../../../ops/graph.ts';
import { linear } from '../../../ops/layers.ts';
import { layOut } from '../../../weights/prepared/layout.ts';
import type { Param } from '../../../weights/types.ts';
import { openGgml } from '../binding/binding.ts';
import { nativeCounts } from '../binding/native.ts';
import { CpuBackend } from '../devices/cpu-backend.ts';
import { ggmlBackend } from '../ggml-backend.ts';
import { GgmlSession } from '../graph/session.ts';
import { plainCodec } from '../weights/weight-codec.ts';
import { GgmlWeights } from '../weights/weights.ts';

const ggml = openGgml();
const WIDTH = 256;
const folder = await tempFolder('graph-memory');
const spec: Param = { name: 'w', shape: [WIDTH, WIDTH], role: 'linear', format: 'float32', parts: [] };
const values = noise([WIDTH, WIDTH], 3);
writeFileSync(join(folder, 'weights.bin'), new Uint8Array(values.buffer));
const weights = new GgmlWeights(ggml, { ...layOut([spec], plainCodec), file: { folder, name: 'weights.bin' } });
afterAll(() => weights.dispose());

/** x [N, WIDTH] through some layers. */
function layers(count: number): OpGraph {
  const g = new OpGraph(ggmlBackend.target);
  let x = g.input('x', 'float32', ['N', WIDTH]);
  for (let i = 0; i < count; i++) x = unary(g, i % 2 === 0 ? 'silu' : 'tanh', linear(g, x, g.param(spec)));
  g.output(x, 'y');
  return g;
}
const inputs = (n: number) => ({ x: { data: noise([n, WIDTH], n), dims: [n, WIDTH] } });

async function alone(count: number, n: number): Promise<Float32Array> {
  const backend = new CpuBackend(ggml, 1);
  const session = await GgmlSession.open(ggml, backend, layers(count), weights);
  const { y } = await session.run(inputs(n));
  const copy = Float32Array.from(y.data);
  await session.dispose();
  await backend.dispose();
  return copy;
}

describe('graphs of one backend', () => {
  it('give in turns what each gives alone, also where the memory they share has grown', async () => {
    const before = nativeCounts();
    const backend = new CpuBackend(ggml, 1);
    const sessions = await Promise.all([3, 4].map((count) => GgmlSession.open(ggml, backend, layers(count), weights)));
    // As many operators in other lengths, larger and smaller.
    const turns = [3, 40, 3, 41, 200, 3, 40, 200, 1, 3].flatMap((n) => [
      [0, n],
      [1, n],
    ]);
    for (const [which, n] of turns) {
      const { y } = await sessions[which].run(inputs(n));
      expect(Float32Array.from(y.data), `${which} ${n}`).toEqual(await alone(which === 0 ? 3 : 4, n));
      expect(nativeCounts()['graph']).toBe((before['graph'] ?? 0) + 1);
    }
    // At the same time, too.
    const all = await Promise.all(turns.map(([which, n]) => sessions[which].run(inputs(n))));
    for (const [i, [which, n]] of turns.entries())
      expect(Float32Array.from(all[i].y.data)).toEqual(await alone(which === 0 ? 3 : 4, n));
    for (const session of sessions) await session.dispose();
    await backend.dispose();
    expect(nativeCounts()['graph'] ?? 0).toBe(before['graph'] ?? 0);
  });

  it('give large memory back some steps after a prompt', async () => {
    const backend = new CpuBackend(ggml, 1);
    const session = await GgmlSession.open(ggml, backend, layers(3), weights);
    await session.run(inputs(50_000)); // 51 MB for each result
    const wanted = await alone(3, 2);
    const counts: (number | undefined)[] = [];
    for (let i = 0; i < 12; i++) {
      const { y } = await session.run(inputs(2));
      expect(Float32Array.from(y.data)).toEqual(wanted);
      counts.push(backend.graphMemory.bytes);
    }
    expect(counts[0]).toBeGreaterThan(50e6);
    expect(counts.at(-1)).toBeLessThan(1e6);
    await session.dispose();
    await backend.dispose();
  });
});
