/**
 * Live adapters by the name of the model.
 */
import { expect, it } from 'vitest';
import { CLASSES, post, servedModel } from '../../test/support/served.ts';
import { loadModel } from '../node.ts';
import { createApp } from './app.ts';

it('a request chooses an adapter by the name of the model', async () => {
  const model = await loadModel('keyhold/tiny', {
    adapters: [{ path: 'keyhold/tiny-jargon', live: true, name: 'jargon', weight: 0 }],
  });
  try {
    const app = createApp({ models: [servedModel(model).one] });
    const ask = async (name: string) => {
      const body = { model: name, prompt: 'And it came', max_tokens: 12, temperature: 0 };
      return (await app.fetch(post('/v1/completions', body))).json();
    };
    const expected = async (adapters: string | []) =>
      model.generate('And it came', { adapters, maxNewTokens: 12, temperature: 0, cache: CLASSES[0].options }).text();
    const [plain, adapted] = [await ask('tiny'), await ask('tiny:jargon')];
    expect(adapted.model).toBe('tiny:jargon');
    expect(adapted.choices[0].text).toBe(await expected('jargon'));
    expect(plain.choices[0].text).toBe(await expected([]));
    expect(adapted.choices[0].text).not.toBe(plain.choices[0].text);
    // The other cache holds keys and values of the plain model.
    expect(adapted.usage.prompt_tokens_details.cached_tokens).toBe(0);
    expect((await ask('tiny:other')).error.code).toBe('model_not_found');
    const { data } = await (await app.fetch(new Request('http://localhost/v1/models'))).json();
    expect(data.map(({ id, parent }: { id: string; parent?: string }) => [id, parent])).toEqual([
      ['tiny', undefined],
      ['tiny:jargon', 'tiny'],
    ]);
  } finally {
    await model.dispose();
  }
});
