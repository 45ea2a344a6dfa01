// One model in memory, an adapter for some requests: LoRA that stays beside the weights.
import { loadModel } from 'keyhold';

const model = await loadModel('keyhold/tiny', {
  adapters: [{ path: 'keyhold/tiny-jargon', live: true, name: 'jargon' }],
});
try {
  const options = { maxNewTokens: 20, temperature: 0 };
  const requests = [
    { id: 'plain', prompt: 'The', adapters: [] },
    { id: 'jargon', prompt: 'The', adapters: ['jargon'] },
    { id: 'half', prompt: 'The', adapters: [{ name: 'jargon', weight: 0.5 }] },
  ];
  for (const answer of await model.generateBatch(requests, options).results())
    console.log(answer.type === 'end' ? `${answer.id}: ${answer.result.text}` : `${answer.id} failed: ${answer.error}`);
} finally {
  await model.dispose();
}
