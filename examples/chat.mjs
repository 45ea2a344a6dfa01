// A conversation: chat.mjs [model]. Each line of stdin is a message; the cache goes on from turn to turn.
import { createInterface } from 'node:readline';
import { Conversation, loadModel } from 'keyhold';

const [name] = process.argv.slice(2); // such as HuggingFaceTB/SmolLM2-360M-Instruct
const model = await loadModel(name ?? 'keyhold/tiny');
// The model that ships has no chat template; models that are made for conversations have one.
const template = name ? undefined : '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:';
try {
  const conversation = new Conversation(model, {
    template,
    messages: [{ role: 'system', content: 'You are brief.' }],
    temperature: 0.7,
    maxNewTokens: name ? 500 : 20,
    cache: { policy: 'lastrec', cacheLength: 2048 },
  });
  for await (const line of createInterface({ input: process.stdin })) {
    for await (const { text } of conversation.say(line)) process.stdout.write(text);
    process.stdout.write('\n');
  }
} finally {
  await model.dispose();
}
