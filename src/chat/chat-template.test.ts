import { describe, expect, it } from 'vitest';
import { CONVERSATION, TEMPLATES } from '../../test/support/chat-templates.ts';
import type { ChatMessage } from '../engine/messages.ts';
import { InputError, TokenizerError } from '../util/errors.ts';
import { ChatTemplate } from './chat-template.ts';

const USER: ChatMessage = { role: 'user', content: 'Hello' };

describe('published templates', () => {
  it.each(TEMPLATES)('$name', ({ template, tokens, text }) => {
    expect(new ChatTemplate(template, tokens).render(CONVERSATION)).toBe(text);
  });

  it('leave the answer’s beginning out where it is not wanted', () => {
    const [{ template, tokens, text }] = TEMPLATES;
    const rendered = new ChatTemplate(template, tokens).render(CONVERSATION, { addGenerationPrompt: false });
    expect(`${rendered}<|im_start|>assistant\n`).toBe(text);
  });

  it('refuse messages in their own words', () => {
    const mistral = new ChatTemplate(TEMPLATES[2].template, TEMPLATES[2].tokens);
    expect(() => mistral.render([USER, USER])).toThrow(InputError);
    expect(() => mistral.render([USER, USER])).toThrow(
      /^the chat template does not take these messages: .*roles must alternate/,
    );
  });
});

describe('ChatTemplate', () => {
  it('gives templates what they ask for: tools, variables, special tokens, time', () => {
    const template =
      '{{ bos_token }}{{ pad_token }}|{{ additional_special_tokens | join(",") }}|{% if tools %}{{ tools | tojson }}{% endif %}|' +
      '{% if enable_thinking is defined and not enable_thinking %}no thoughts{% endif %}|{{ strftime_now("%Y") | length }}';
    const config = {
      bos_token: '<s>',
      pad_token: { content: '<pad>' },
      additional_special_tokens: ['<a>', { content: '<b>' }],
    };
    const made = new ChatTemplate(template, config);
    const options = { tools: [{ name: 'f' }], variables: { enable_thinking: false } };
    expect(made.render([USER], options)).toBe('<s><pad>|<a>,<b>|[{"name": "f"}]|no thoughts|4');
    expect(made.render([USER])).toBe('<s><pad>|<a>,<b>|||4');
  });

  it('sees all of a message', () => {
    const made = new ChatTemplate('{% for m in messages %}{{ m.name }}{{ m.tool_calls[0].id }}{% endfor %}');
    expect(made.render([{ role: 'tool', content: '', name: 'ann', tool_calls: [{ id: 7 }] }])).toBe('ann7');
  });

  it('refuses what are no messages', () => {
    const made = new ChatTemplate('x');
    const refused = (messages: unknown, message: RegExp) => {
      expect(() => made.render(messages as ChatMessage[])).toThrow(InputError);
      expect(() => made.render(messages as ChatMessage[])).toThrow(message);
    };
    refused([], /needs messages/);
    refused('Hello', /needs messages/);
    refused([{ content: 'x' }], /message 0 has no role/);
    refused([USER, null], /message 1 has no role/);
    refused([USER, { role: 'user' }], /message 1 \(user\) has no content/);
  });

  it('says where a template can not be read', () => {
    const broken = new ChatTemplate('{% if %}');
    expect(() => broken.render([USER])).toThrow(TokenizerError);
    expect(() => broken.render([USER])).toThrow(/^the chat template can't be read: /);
    expect(() => new ChatTemplate('{{ messages | nonesuch }}').render([USER])).toThrow(
      /fails on these messages: .*No filter named 'nonesuch'/,
    );
    const parts = { role: 'user', content: [{ type: 'text', text: 'x' }] } as never;
    expect(() => new ChatTemplate("{{ 'a' + messages[0].content }}").render([parts])).toThrow(
      /and 'list'; the content of message 0 is an array, and most templates take a text only$/,
    );
  });
});

describe('the template of a checkpoint', () => {
  it('is in tokenizer_config.json, as a text', () => {
    const made = ChatTemplate.of({ config: { chat_template: '{{ bos_token }}!', bos_token: '<s>' } })!;
    expect(made.render([USER])).toBe('<s>!');
    expect(made.names).toEqual(['default']);
  });

  it('is one of several, by name or by what is asked', () => {
    const chat_template = [
      { name: 'default', template: 'plain' },
      { name: 'tool_use', template: 'tools' },
      { name: 'rag', template: 'documents' },
    ];
    const made = ChatTemplate.of({ config: { chat_template } })!;
    expect(made.render([USER])).toBe('plain');
    expect(made.render([USER], { tools: [] })).toBe('tools');
    expect(made.render([USER], { templateName: 'rag' })).toBe('documents');
    expect(() => made.render([USER], { templateName: 'rap' })).toThrow(
      /no chat template named rap; there are default, tool_use, rag/,
    );
  });

  it('is chat_template.jinja where there is one, or else chat_template.json', () => {
    const sources = { config: { chat_template: 'old' }, json: { chat_template: 'older' } };
    expect(ChatTemplate.of({ ...sources, jinja: 'new' })!.render([USER])).toBe('new');
    expect(ChatTemplate.of(sources)!.render([USER])).toBe('old');
    expect(ChatTemplate.of({ ...sources, config: {} })!.render([USER])).toBe('older');
    const named = [{ name: 'rag', template: 'documents' }];
    const both = ChatTemplate.of({ jinja: 'new', config: { chat_template: named } })!;
    expect([both.render([USER]), both.render([USER], { templateName: 'rag' })]).toEqual(['new', 'documents']);
  });

  it('may not be there, or be nonsense', () => {
    expect(ChatTemplate.of({})).toBeNull();
    expect(ChatTemplate.of({ config: { chat_template: null } })).toBeNull();
    for (const chat_template of [3, {}, [3], [{ name: 'x' }]])
      expect(() => ChatTemplate.of({ config: { chat_template } })).toThrow(TokenizerError);
  });
});

describe('what templates of checkpoints rely on', () => {
  const render = (template: string, messages: readonly Record<string, unknown>[] = [USER]) =>
    new ChatTemplate(template).render(messages as unknown as ChatMessage[]);

  it('is Python: white space that is told, equality by type, and values as Python writes them', () => {
    const answer = { role: 'assistant', content: '<think>\nhm  \n</think>\n\n    return 1\n' };
    const past =
      "{{ messages[0].content.split('</think>')[-1].lstrip('\\n') }}|{{ messages[0].content.split('</think>')[0].rstrip('\\n') }}";
    expect(render(past, [answer])).toBe('    return 1\n|<think>\nhm  ');
    expect(render("{{ '' != false }} {{ '1' == 1 }} {{ [1] == [1] }} {{ documents is defined }}")).toBe(
      'True False True True',
    );
    const call = { role: 'assistant', content: '', tool_calls: [{ arguments: { deep: true, n: 2, tags: ['a'] } }] };
    expect(
      render('{% for k, v in messages[0].tool_calls[0].arguments | items %}{{ k }}={{ v | string }};{% endfor %}', [
        call,
      ]),
    ).toBe("deep=True;n=2;tags=['a'];");
  });

  it('is that every line end is one character, and that what lacks an attribute can be selected', () => {
    expect(render('{% for m in messages %}\r\n<{{ m.role }}>\r\n{% endfor %}')).toBe('<user>\n');
    const users = [USER, { ...USER, tool_calls: [] }, USER];
    expect(render("{{ messages | selectattr('tool_calls', 'undefined') | list | length }}", users)).toBe('2');
  });

  it('takes messages without content, as calls of tools are', () => {
    const call = { role: 'assistant', tool_calls: [{ id: 'x' }] };
    expect(render('{{ messages[0].content is defined }}{{ messages[0].tool_calls[0].id }}', [call])).toBe('Falsex');
  });
});
