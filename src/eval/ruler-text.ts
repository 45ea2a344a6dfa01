/**
 * @file Words and sentences that the tasks of {@link rulerCases} are made of. All are made up here.
 */
import type { Random } from '../util/random.ts';

const PEOPLE =
  'miller,baker,sailor,weaver,teacher,farmer,painter,doctor,porter,singer,mason,clerk,hunter,gardener,tailor';
const ACTS =
  'carried,mended,sold,borrowed,counted,painted,hid,found,cleaned,measured,folded,weighed,packed,polished,drew';
const THINGS =
  'a basket,an old lamp,two ropes,a wooden chair,the red flag,a bag of salt,three letters,a clay pot,the long ladder,a wool coat';
const WHERE =
  'near the harbour,behind the mill,at the market,by the old bridge,in the orchard,on the hill,beside the well,under the tower';
const WHEN =
  'before noon,after the rain,in early spring,late at night,on the second day,when the bell rang,without a word,as usual';

const FIRST =
  'Marta,Jonas,Elin,Tobias,Nadia,Ruben,Ilse,Pavel,Greta,Oskar,Lena,Hugo,Vera,Anton,Clara,Felix,Dora,Emil,Rosa,Viktor';
const LAST =
  'Feld,Brandt,Kovar,Lindqvist,Moreau,Novak,Ostrow,Pereira,Quist,Rossi,Sandoval,Tamm,Ulrich,Varga,Winter,Yilmaz';
const TOWNS = 'Ostrava,Bergen,Graz,Lublin,Porto,Turku,Basel,Ghent,Malaga,Riga,Split,Verona,Aarhus,Dresden,Nantes,Cork';
const JOBS =
  'clockmaker,botanist,printer,surveyor,violinist,chemist,shipbuilder,librarian,architect,glassblower,astronomer,baker';

/** Words that keys and lists are made of. */
const WORDS =
  'amber,anchor,apple,arrow,badger,barley,basil,beacon,birch,bottle,bramble,bronze,candle,canyon,carbon,castle,cedar,cherry,cliff,' +
  'clover,cobalt,comet,copper,coral,cotton,crane,cricket,crystal,daisy,desert,dragon,eagle,ember,falcon,feather,fern,flint,forest,' +
  'fossil,garden,garnet,ginger,glacier,granite,hammer,harbor,hazel,heron,honey,island,ivory,jasper,kettle,ladder,lantern,lemon,lily,' +
  'linen,lotus,magnet,maple,marble,meadow,mint,mirror,nectar,needle,nickel,oak,ocean,olive,onyx,orchid,otter,oyster,pebble,pepper,' +
  'pine,plum,poppy,quartz,raven,reed,ribbon,river,robin,ruby,saddle,sage,salmon,sapphire,shell,silver,sparrow,spruce,stone,storm,' +
  'sugar,thistle,thunder,tiger,timber,topaz,tulip,tunnel,turtle,valley,velvet,violet,walnut,willow,winter,zinc';

const listed = (text: string): readonly string[] => text.split(',');

/** One of a list. */
function pick<T>(random: Random, list: readonly T[]): T {
  return list[Math.floor(random.next() * list.length)];
}

/** `count` different ones of a list, in random order. */
export function sample<T>(random: Random, list: readonly T[], count: number): T[] {
  return shuffled(random, list).slice(0, count);
}

export function shuffled<T>(random: Random, list: readonly T[]): T[] {
  const out = [...list];
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(random.next() * (i + 1));
    [out[i], out[j]] = [out[j], out[i]];
  }
  return out;
}

/** A whole number of so many digits, the first of which is not 0. */
export function digits(random: Random, count: number): string {
  return String(Math.floor((0.1 + 0.9 * random.next()) * 10 ** count));
}

/** A sentence that says nothing of use. */
export function fillerSentence(random: Random): string {
  const parts = [PEOPLE, ACTS, THINGS, WHERE, WHEN].map((text) => pick(random, listed(text)));
  return `The ${parts.join(' ')}.`;
}

/** Different words. */
export function words(random: Random, count: number): string[] {
  const all = listed(WORDS);
  if (count <= all.length) return sample(random, all, count);
  // Two words in one where there are not enough: as many as anyone needs.
  const pairs = all.flatMap((a) => all.filter((b) => b !== a).map((b) => a + b));
  return [...shuffled(random, all), ...sample(random, pairs, count - all.length)];
}

/** Words that no language has. */
export function codeWords(random: Random, count: number): string[] {
  const syllable = () => pick(random, [...'bdfgklmnprstvz']) + pick(random, [...'aeiou']);
  const found = new Set<string>();
  while (found.size < count) found.add(syllable() + syllable() + syllable());
  return [...found];
}

/** A passage, and a question that it answers. */
export interface Passage {
  /** The text. */
  readonly passage: string;
  /** A question that the text answers. */
  readonly question: string;
  /** The right answers; any of them is enough. */
  readonly answers: readonly string[];
}

/** Short biographies that are made up; names differ. */
export function lives(random: Random, count: number): Passage[] {
  const names = listed(FIRST).flatMap((first) => listed(LAST).map((last) => `${first} ${last}`));
  return sample(random, names, count).map((name) => {
    const [born, lived] = sample(random, listed(TOWNS), 2);
    const job = pick(random, listed(JOBS));
    const year = 1700 + Math.floor(random.next() * 250);
    const passage = `${name} was born in ${born} in ${year}, worked as a ${job} and later moved to ${lived}.`;
    const [question, answer] = pick(random, [
      [`In which town was ${name} born?`, born],
      [`To which town did ${name} move?`, lived],
      [`What did ${name} work as?`, job],
      [`In which year was ${name} born?`, String(year)],
    ]);
    return { passage, question, answers: [answer] };
  });
}
