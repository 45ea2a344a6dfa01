import { describe, expect, it } from 'vitest';
import { NASTY_TEXTS } from '../../../../test/support/nasty-texts.ts';
import { regexFinder, splitSpans } from '../../../tokenizer/pattern.ts';
import { preTokenizer } from './pre-tokenizers.ts';

/** The names that llama.cpp has (November 2026), but for those of tokenizers that are not byte-level. */
const NAMES =
  'default minicpm5 llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano deepseek-llm deepseek-coder deepseek-v3 ' +
  'spark2_5 youtu falcon mpt starcoder gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert jais-2 ' +
  'jina-v1-en jina-v2-code roberta-bpe refact command-r qwen2 deepseek-r1-qwen kormo f2llmv2 qwen35 stablelm2 olmo dbrx smaug-bpe poro-chat ' +
  'glm4 chatglm-bpe viking jais tekken smollm codeshell bloom gpt3-finnish exaone exaone4 exaone-moe chameleon minerva-7b megrez gpt-4o ' +
  'llama4 kanana2 talkie granite-embed-multi-97m tiny_aya cohere2moe superbpe trillion granite-docling bailingmoe bailingmoe2 llada-moe ' +
  'seed-coder hunyuan hunyuan-dense hy_v4 joyai-llm kimi-k2 ufakzeka grok-2 afmoe laguna minimax-m2 solar-open mellum2';

/** The pieces that a text is cut into. */
function pieces(name: string, text: string): string[] {
  return preTokenizer(name)!.patterns.reduce(
    (parts, pattern) =>
      parts.flatMap((part) =>
        splitSpans(part, regexFinder(pattern), 'Isolated').map(([start, end]) => part.slice(start, end)),
      ),
    [text],
  );
}

describe('pre-tokenizers', () => {
  it.each(NAMES.split(' '))('%s cuts texts without losing anything', (name) => {
    for (const text of NASTY_TEXTS) expect(pieces(name, text).join('')).toBe(text);
  });

  it.each([
    ['afmoe', '12345 a1234567', ['12', '345', ' a', '1', '234', '567']],
    ['afmoe', 'ab漢字ab ກຂ', ['ab', '漢字', 'ab', ' ', 'ກຂ']],
    ['kimi-k2', 'a漢字b 漢 12345', ['a', '漢字', 'b', ' ', '漢', ' ', '123', '45']],
    ['kimi-k2', "It's HelloWorld", ["It's", ' Hello', 'World']],
    ['youtu', '한국a、「漢字', ['한국', 'a', '、「', '漢字']],
    ['deepseek-llm', "it's 123 漢字!", ['it', "'", 's', ' ', '123', ' ', '漢字', '!']],
    ['jais-2', 'a     b', ['a', '    ', ' b']],
    ['ufakzeka', "Ankara'da", ['Ankara', "'da"]],
    ['exaone-moe', 'two words, 12', ['two words', ',', ' ', '1', '2']],
    ['spark2_5', 'a\n\nb', ['a', '\n', '\n', 'b']],
  ])('%s cuts %j', (name, text, expected) => {
    expect(pieces(name, text)).toEqual(expected);
  });

  it('are null for a name that is not known', () => {
    expect(preTokenizer('whitespace')).toBeNull();
    expect(preTokenizer('constructor')).toBeNull();
  });
});
