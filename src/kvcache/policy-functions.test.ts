import { describe, expect, it } from 'vitest';
import { loadModel } from '../load/load-model-node.ts';
import { InputError } from '../util/errors.ts';
import { POLICIES } from './policies.ts';
import * as functions from './policy-functions.ts';

describe('policies as functions', () => {
  it.each(Object.entries(functions))('%s is the policy of that name', (name, choose) => {
    const { entry, options } = choose();
    expect(entry).toBe(POLICIES[name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)]);
    expect(options).toEqual({});
  });

  it('are all of the table', () => {
    const names = Object.values(functions).map((choose) => choose().entry.name);
    expect(names.sort()).toEqual(Object.keys(POLICIES).sort());
  });

  it('refuse options that the policy does not take', () => {
    expect(() => functions.lastrec({ recent: 16 } as never)).toThrow(InputError);
    expect(() => functions.h2o({ recnt: 16 } as never)).toThrow(
      'the policy h2o has no option recnt; did you mean recent?',
    );
  });

  it('make the cache that their name and options make', async () => {
    const model = await loadModel();
    const prompt = model.tokenizer.encode(
      'And it came to pass in those days, that there went out a decree. '.repeat(4),
    );
    const positions = async (cache: object) => {
      const made = model.createCache(cache);
      await model.prefill(made, prompt);
      return [made.policy, made.tokenPositions(0, 0)];
    };
    const wanted = await positions({ policy: 'h2o', cacheLength: 32, recent: 20, sinks: 2 });
    expect(await positions({ policy: functions.h2o({ recent: 20, sinks: 2 }), cacheLength: 32 })).toEqual(wanted);
    expect(await positions({ policy: 'h2o', cacheLength: 32, recent: 4 })).not.toEqual(wanted);
    await model.dispose();
  });
});
