// Many prompts, several at a time: batch-from-file.mjs prompts.txt. One prompt a line, one JSON object a result.
import { open } from 'node:fs/promises';
import { loadModel } from 'keyhold';

const [file = 'prompts.txt'] = process.argv.slice(2);

/** Requests are read when there is room for them, so the file may be of any length. */
async function* requests() {
  const handle = await open(file);
  let id = 0;
  for await (const prompt of handle.readLines()) if (prompt !== '') yield { id: id++, prompt };
}

const model = await loadModel();
try {
  const batch = model.generateBatch(requests(), { batchSize: 4, maxNewTokens: 20, temperature: 0 });
  for await (const event of batch) {
    if (event.type === 'end') console.log(JSON.stringify({ id: event.id, text: event.result.text }));
    if (event.type === 'error') console.log(JSON.stringify({ id: event.id, error: String(event.error) }));
  }
} finally {
  await model.dispose();
}
