/**
 * @file `npm run soak:batch`: 200 random batches, every policy and every buffer among them; each row must get what it
 * gets alone.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadModel } from '../src/node.ts';
import { BATCH_POLICIES, bufferFor, compareBatch, randomBatch } from './support/batch-cases.ts';
import { caseFolder } from './support/family-cases.ts';

const BATCHES = Number(process.argv[2] ?? 200);
const SEED = Number(process.argv[3] ?? 1);
/** With windows, learned positions, alibi, experts, interleaved and changing rotations; and one that was trained. */
const MODELS = [
  ...['llama', 'gemma2', 'gpt2', 'bloom', 'mixtral', 'gptj', 'llama-rope-dynamic', 'phi3-longrope'].map(caseFolder),
  join(import.meta.dirname, '../models/tiny'),
];

const cacheDir = await mkdtemp(join(tmpdir(), 'keyhold-soak-'));
const sum = { rows: 0, failed: 0, tokens: 0, different: 0 };
try {
  for (const [m, folder] of MODELS.entries()) {
    await using model = await loadModel(folder, { weights: 'float32', cacheDir, generationConfig: false });
    for (let n = m; n < BATCHES; n += MODELS.length) {
      const policy = BATCH_POLICIES[Math.floor(n / MODELS.length) % BATCH_POLICIES.length];
      const buffer = bufferFor(policy, n);
      const { rows, failed, tokens, differences } = await compareBatch(
        model,
        randomBatch(model, SEED * 1_000_000 + n, policy, buffer),
      );
      sum.rows += rows;
      sum.failed += failed;
      sum.tokens += tokens;
      sum.different += differences.length;
      for (const { id, at, gap, alone, batched } of differences)
        console.log(
          `batch ${n} (${model.config.name}, ${policy}, ${buffer}), request ${id}: token ${at} is ${batched[at]} and alone ` +
            `${alone[at]}, ${gap.toExponential(1)} apart in log probability`,
        );
    }
    console.log(
      `${model.name}: ${sum.rows} rows so far (${sum.failed} refused by themselves, too), ${sum.tokens} tokens, ` +
        `${sum.different} rows differ`,
    );
  }
} finally {
  await rm(cacheDir, { recursive: true, force: true });
}
process.exitCode = sum.different > 0 ? 1 : 0;
