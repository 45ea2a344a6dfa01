/**
 * @file One run of a model of some kind in a process of its own: reads a prompt, writes some tokens, and tells what
 * memory that took at most.
 */
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadEncoder, loadModel } from '../src/node.ts';

export interface KindJob {
  /** A folder or a file. */
  readonly model: string;
  readonly tokens: number;
  readonly decode: number;
  readonly isEncoder: boolean;
  readonly vocabulary: number;
  /** Where prepared weights are. @default a new folder */
  readonly folder?: string;
}

const job = JSON.parse(process.argv[2]!) as KindJob;
const folder = job.folder ?? mkdtempSync(join(tmpdir(), 'keyhold-kind-'));
const ids = Array.from({ length: job.tokens }, (_, i) => 3 + ((i * 7919) % (job.vocabulary - 3)));
if (job.isEncoder) {
  const encoder = await loadEncoder(job.model, { cacheDir: folder });
  await encoder.encode({ ids: [ids] });
  await encoder.dispose();
} else {
  const model = await loadModel(job.model, { cacheDir: folder });
  const cache = model.createCache({ policy: 'dense', cacheLength: job.tokens + job.decode + 1 });
  await model.prefill(cache, ids);
  for (let i = 0; i < job.decode; i++) await model.step(cache, [[3 + i]]);
  await model.dispose();
}
const [, peak] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))!;
process.stdout.write(JSON.stringify({ folder, peak: Number(peak) * 1024 }));
