/**
 * @file Chat templates as published checkpoints have them, and what a conversation is in each of them.
 */
import type { ChatMessage } from '../../src/index.ts';

interface TemplateCase {
  readonly name: string;
  readonly template: string;
  readonly tokens: Readonly<Record<string, unknown>>;
  /** Of {@link CONVERSATION}. */
  readonly text: string;
}

export const CONVERSATION: readonly ChatMessage[] = [
  { role: 'user', content: 'Hello' },
  { role: 'assistant', content: 'Good day.' },
  { role: 'user', content: 'Who are you?' },
];

export const TEMPLATES: readonly TemplateCase[] = [
  {
    name: 'ChatML (Qwen and many others)',
    template:
      "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}" +
      "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}" +
      "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}" +
      "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    tokens: { eos_token: '<|im_end|>' },
    text:
      '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n' +
      '<|im_start|>assistant\nGood day.<|im_end|>\n<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n',
  },
  {
    name: 'Llama 3',
    template:
      '{% set loop_messages = messages %}{% for message in loop_messages %}' +
      "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}" +
      '{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}' +
      "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    tokens: { bos_token: { content: '<|begin_of_text|>', lstrip: false }, eos_token: '<|eot_id|>' },
    text:
      '<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>' +
      '<|start_header_id|>assistant<|end_header_id|>\n\nGood day.<|eot_id|>' +
      '<|start_header_id|>user<|end_header_id|>\n\nWho are you?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n',
  },
  {
    name: 'Mistral',
    template:
      "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}" +
      "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}" +
      "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}" +
      "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token + ' ' }}" +
      "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}",
    tokens: { bos_token: '<s>', eos_token: '</s>' },
    text: '<s>[INST] Hello [/INST]Good day.</s> [INST] Who are you? [/INST]',
  },
  {
    name: 'Gemma',
    template:
      "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" +
      "{% for message in messages %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}" +
      "{% else %}{% set role = message['role'] %}{% endif %}" +
      "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}" +
      "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}",
    tokens: { bos_token: '<bos>', eos_token: '<eos>' },
    text:
      '<bos><start_of_turn>user\nHello<end_of_turn>\n<start_of_turn>model\nGood day.<end_of_turn>\n' +
      '<start_of_turn>user\nWho are you?<end_of_turn>\n<start_of_turn>model\n',
  },
];

/** One that writes past thoughts out of the conversation, as those of thinking models do. */
export const THINKING =
  '{% for message in messages %}{{ message.role }}: ' +
  "{% if message.role == 'assistant' and '</think>' in message.content %}{{ message.content.split('</think>')[-1] }}" +
  "{% else %}{{ message.content }}{% endif %}{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";

/** A plain one, for a model that speaks no chat. */
export const PLAIN =
  '{{ bos_token }}{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}' +
  '{% if add_generation_prompt %}assistant:{% endif %}';
