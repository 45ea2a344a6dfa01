import { describe, expect, it } from 'vitest';
import { CASES, caseFolder, configJson, MORE_CASES } from '../../test/support/family-cases.ts';
import { openCheckpointFolder } from '../checkpoint/open-node.ts';
import type { Checkpoint, StoredTensor } from '../checkpoint/types.ts';
import { readFamilyConfig } from '../families/read-config.ts';
import { planModel } from '../load/plan.ts';
import { CheckpointError } from '../util/errors.ts';

async function open(folder: string): Promise<Checkpoint> {
  const checkpoint = await openCheckpointFolder(folder);
  await checkpoint.close();
  return checkpoint;
}

/** The checkpoint with tensors renamed, or taken away where the new name is null. */
function renamed(checkpoint: Checkpoint, rename: (name: string) => string | null): Checkpoint {
  const tensors = new Map<string, StoredTensor>();
  for (const [name, tensor] of checkpoint.tensors) {
    const to = rename(name);
    if (to !== null) tensors.set(to, { ...tensor, name: to });
  }
  return { ...checkpoint, tensors };
}

/** Tensors of what is beside the language model. */
const BESIDE = /^(visual|model\.vqmodel|esm\.contact_head)\./;

describe.each(CASES)('%s', (name) => {
  it('misses each of its tensors by name, and has no use for another', async () => {
    const checkpoint = await open(caseFolder(name));
    const { config } = planModel(checkpoint);
    const used = [...checkpoint.tensors.keys()].filter((tensor) => !BESIDE.test(tensor));
    for (const gone of used) {
      const without = renamed(checkpoint, (tensor) => (tensor === gone ? null : tensor));
      // A model without its head is a tied one, and a masked language model without its head is the encoder.
      if (/^(lm_head|embed_out)\./.test(gone) && gone.endsWith('weight') && !config.tieEmbeddings) continue;
      if (gone.startsWith('lm_head.') && config.output === 'masked-logits') continue;
      expect(() => planModel(without), gone).toThrow(CheckpointError);
      expect(() => planModel(without), gone).toThrow(gone);
    }
    const more = new Map([...checkpoint.tensors, ['extra.weight', [...checkpoint.tensors.values()][0]]]);
    expect(() => planModel({ ...checkpoint, tensors: more })).toThrow(
      /1 tensors do not belong in a \w+ model with this config.json: extra.weight. The family \w+ has /,
    );
  });

  it('names both shapes where they disagree', async () => {
    const checkpoint = await open(caseFolder(name));
    for (const [key, tensor] of checkpoint.tensors) {
      if (BESIDE.test(key)) continue;
      const tensors = new Map(checkpoint.tensors);
      const shape = tensor.shape.map((length, i) => (i === 0 ? length + 64 : length));
      tensors.set(key, { ...tensor, shape });
      const plan = () => planModel({ ...checkpoint, tensors });
      expect(plan, key).toThrow(`the tensor ${key} has shape [${shape}], but config.json makes it [`);
    }
  });
});

describe('a head', () => {
  it('that the file holds is used, whatever the config says of ties', async () => {
    const checkpoint = await open(caseFolder('llama'));
    const tied = { ...checkpoint, config: { ...checkpoint.config, tie_word_embeddings: true } };
    const plan = planModel(tied);
    expect(plan.config.tieEmbeddings).toBe(false);
    expect(plan.params.map(({ name }) => name)).toContain('lm_head.weight');
    expect(planModel(renamed(tied, (name) => (name.startsWith('lm_head') ? null : name))).config.tieEmbeddings).toBe(
      true,
    );
  });
});

describe('names', () => {
  const used = (checkpoint: Checkpoint) => planModel(checkpoint).params.length;

  it('may lack the prefix of the model with its head, or have it once more', async () => {
    for (const name of ['llama', 'gpt_neox', 'gpt2', 'opt', 'falcon', 'qwen3', 'esm', 'gemma3', 'mixtral']) {
      const checkpoint = await open(caseFolder(name));
      const count = used(checkpoint);
      const prefix =
        { gpt_neox: 'gpt_neox.', gpt2: 'transformer.', falcon: 'transformer.', esm: 'esm.' }[name] ?? 'model.';
      const bare = renamed(checkpoint, (tensor) => (tensor.startsWith(prefix) ? tensor.slice(prefix.length) : tensor));
      expect(used(bare), name).toBe(count);
    }
  });

  it('may be those of newer versions, where the decoder lies deeper', async () => {
    const checkpoint = await open(`${MORE_CASES}/llava`);
    const deeper = renamed(checkpoint, (name) =>
      name.startsWith('language_model.lm_head')
        ? name.slice('language_model.'.length)
        : name.startsWith('language_model.model.')
          ? `model.language_model.${name.slice('language_model.model.'.length)}`
          : `model.${name}`,
    );
    expect(used(deeper)).toBe(used(checkpoint));
    const stray = renamed(checkpoint, (name) =>
      name.endsWith('layers.1.mlp.up_proj.weight') ? name.replace('up_proj', 'side_proj') : name,
    );
    expect(() => planModel(stray)).toThrow(/model.layers.1.mlp.up_proj.weight is missing/);
  });

  it('are counted by kind where layers of two kinds lie in lists of their own', () => {
    const numbers = (interval: number, layers: number) => {
      const { num_key_value_heads, head_dim, ...llama } = configJson('llama');
      const own = { model_type: 'idefics', num_hidden_layers: layers, cross_layer_interval: interval };
      return readFamilyConfig({ ...llama, ...own }).said;
    };
    const two = numbers(2, 4);
    expect(two.attentionKind).toEqual(['cross', 'self', 'self', 'cross', 'self', 'self']);
    expect(two.layerNumbers).toEqual([0, 0, 1, 1, 2, 3]);
    expect(numbers(1, 2).layerNumbers).toEqual([0, 0, 1, 1]);
    expect(() => numbers(3, 4)).toThrow(/cross_layer_interval is 3, which does not divide the 4 layers/);
  });

  it('may be of rows in two tensors', async () => {
    const checkpoint = await openCheckpointFolder(`${MORE_CASES}/idefics-vector`);
    const { params, resolver } = planModel(checkpoint);
    const wte = params.find(({ name }) => name === 'wte.weight')!;
    const rows = await resolver.source(wte).read(95, 5);
    const [own, more] = ['model.embed_tokens.weight', 'model.embed_tokens.additional_embedding.weight'].map(
      (name) => checkpoint.tensors.get(name)!,
    );
    expect(own.shape).toEqual([97, 32]);
    expect([...rows.subarray(0, 64)]).toEqual([...(await own.readFloats(95 * 32, 64))]);
    expect([...rows.subarray(64)]).toEqual([...(await more.readFloats(0, 96))]);
    await checkpoint.close();
  });
});

describe('the table of layers of gemma3n', () => {
  it('has the first row for tokens that come after its last', async () => {
    const checkpoint = await openCheckpointFolder(`${MORE_CASES}/gemma3n`);
    const table = checkpoint.tensors.get('model.embed_tokens_per_layer.weight')!;
    const short = new Map(checkpoint.tensors).set(table.name, { ...table, shape: [90, table.shape[1]] });
    const config = { ...checkpoint.config, vocab_size_per_layer_input: 90 };
    const { resolver, params } = planModel({ ...checkpoint, tensors: short, config });
    const param = params.find(({ name }) => name === 'wte_layers.weight')!;
    expect(param.shape).toEqual([97, 36]);
    const rows = await resolver.source(param).read(88, 9);
    const first = [...(await table.readFloats(0, 36))];
    const own = [...(await table.readFloats(88 * 36, 72))];
    expect([...rows]).toEqual([...own, ...Array.from({ length: 7 }, () => first).flat()]);
    await checkpoint.close();
  });
});

describe('experts of Qwen3-VL', () => {
  it('are read as they are published, [in, out], and as transformers saves them', async () => {
    const checkpoint = await openCheckpointFolder(`${MORE_CASES}/qwen3_vl_moe`);
    const turned = new Map<string, StoredTensor>();
    for (const [name, tensor] of checkpoint.tensors) {
      const isExperts = name.includes('.experts.');
      turned.set(name, isExperts ? await withLastAxesExchanged(tensor) : tensor);
    }
    const rowsIn = async (from: Checkpoint) => {
      const { resolver, params } = planModel(from);
      const all = await Promise.all(
        params
          .filter(({ name }) => name.includes('experts'))
          .map((param) => resolver.source(param).read(0, resolver.source(param).rows)),
      );
      return all.map((rows) => [...rows]);
    };
    const saved = await rowsIn(checkpoint);
    expect(saved.length).toBeGreaterThan(0);
    expect(await rowsIn({ ...checkpoint, tensors: turned })).toEqual(saved);
    await checkpoint.close();
  });
});

async function withLastAxesExchanged(tensor: StoredTensor): Promise<StoredTensor> {
  const [count, rows, cols] = tensor.shape;
  const values = await tensor.readFloats(0, count * rows * cols);
  const out = values.map((_, i) => {
    const [e, c, r] = [Math.floor(i / (rows * cols)), Math.floor(i / rows) % cols, i % rows];
    return values[(e * rows + r) * cols + c];
  });
  return {
    ...tensor,
    shape: [count, cols, rows],
    readFloats: async (start, length) => out.slice(start, start + length),
  };
}
