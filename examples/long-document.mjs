// Questions about a long document: long-document.mjs [file] [question]. The document is read once, in a cache that
// keeps within a budget; the cache is saved, and the next question begins where the document ended.
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { loadCache, loadModel, saveCache } from 'keyhold';

const [file = 'document.txt', question = '\nWhat is this about? It is about'] = process.argv.slice(2);
const saved = `${file}.cache`;
const model = await loadModel();
try {
  if (!existsSync(saved)) {
    const cache = model.createCache({ policy: 'keydiff', cacheLength: 512 });
    await model.prefill(cache, model.tokenizer.encode(await readFile(file, 'utf8')));
    await saveCache(model, cache, saved);
  }
  const cache = await loadCache(model, saved);
  const { seen, held } = cache.stats();
  console.log(`the document has ${seen} tokens, of which ${held} are kept`);
  const answer = await model.generate(question, { cache, maxNewTokens: 40, addSpecialTokens: false }).text();
  console.log(answer);
} finally {
  await model.dispose();
}
