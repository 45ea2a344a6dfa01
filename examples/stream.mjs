// Text as it comes: stream.mjs [prompt]
import { loadModel } from 'keyhold';

const prompt = process.argv[2] ?? 'And it came to pass';
const model = await loadModel(); // or a folder, or a name on the hub: 'Qwen/Qwen3-0.6B'
try {
  process.stdout.write(prompt);
  const run = model.generate(prompt, { maxNewTokens: 60, cache: { policy: 'lastrec', cacheLength: 256 } });
  for await (const { text } of run) process.stdout.write(text);
  const { finishReason, usage, timings } = await run.result();
  const speed = (1000 * (usage.completionTokens - 1)) / timings.decodeMs;
  console.log(`\n${usage.completionTokens} tokens (${finishReason}), ${speed.toFixed(0)} a second`);
} finally {
  await model.dispose();
}
