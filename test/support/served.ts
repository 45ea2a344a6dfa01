/**
 * The small model as a server has it, and requests to it.
 */
import { ChatTemplate } from '../../src/exports/checkpoint.ts';
import { type LanguageModel, loadModel } from '../../src/node.ts';
import type { CacheClass } from '../../src/server/cache-classes.ts';
import { ServedModel, type ServedModelOptions } from '../../src/server/served-model.ts';

export const TEMPLATE =
  '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if tools %}<tool_call>{% endif %}assistant:';
export const CLASSES: readonly CacheClass[] = [
  { name: 'default', options: { policy: 'dense', cacheLength: 512 } },
  { name: 'short', options: { policy: 'lastrec', cacheLength: 24 } },
];

/** The small model, which was not trained on conversations, with a chat template. */
export async function loadChatModel(template = TEMPLATE): Promise<LanguageModel> {
  const model = await loadModel();
  Object.assign(model, { renderer: { ...model.renderer, template: new ChatTemplate(template, {}) } });
  return model;
}

export function servedModel(model: LanguageModel, more: Partial<ServedModelOptions> = {}) {
  const losses: unknown[] = [];
  const one = new ServedModel(model, {
    id: 'tiny',
    cacheClasses: CLASSES,
    rows: 4,
    queue: 64,
    queueMs: 600_000,
    maxTokens: 64,
    sessions: 4,
    store: null,
    onLoss: (_, error) => losses.push(error),
    ...more,
  });
  return { one, losses };
}

export const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  new Request(`http://localhost${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });

export const chat = (content: string, more: object = {}) => ({
  model: 'tiny',
  messages: [{ role: 'user', content }],
  max_tokens: 12,
  temperature: 0,
  ...more,
});

/** The data of a stream's events. */
export async function eventsOf(response: Response): Promise<string[]> {
  return (await response.text())
    .split('\n\n')
    .filter((each) => each.startsWith('data: '))
    .map((each) => each.slice(6));
}
