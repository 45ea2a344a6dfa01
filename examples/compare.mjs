// Which policy keeps what a text needs? Perplexity under two budgets, as a table and as a picture.
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { loadModel } from 'keyhold';
import { compare, plotComparison } from 'keyhold/eval';

const text = await readFile(fileURLToPath(import.meta.resolve('keyhold/models/tiny/validation.txt')), 'utf8');
const model = await loadModel();
try {
  const results = await compare(model, {
    contestants: ['lastrec', 'h2o', 'keydiff'].map((policy) => ({ name: policy, policy })),
    budgets: [0.1, 0.4],
    text,
    windowLength: 256,
    windows: 1,
  });
  for (const { policy, budget, perplexity, msPerToken } of results)
    console.log(
      policy.padEnd(10),
      `${budget * 100} %`.padStart(6),
      perplexity?.toFixed(1),
      `${msPerToken.toFixed(2)} ms`,
    );
  await writeFile('compare.svg', plotComparison(results));
} finally {
  await model.dispose();
}
