// Decks of cards that are shown again when they are about to be forgotten. A deck is one object;
// reviews of several cards at once each change it, and none is lost.
//
//     fractus bucket create flashcards
//     fractus deploy examples/lambdabench/flashcards

import { randomUUID } from 'node:crypto';

import { get, update } from './kit/store.mjs';
import { Refused, answer, dayOf, fieldsOf, page, serve, textOf } from './kit/web.mjs';
import { fresh, review } from './sm2.mjs';

const CARDS_MAX = 500;

const object = (deck) => `flashcards/${deck}`;
const today = () => new Date().toISOString().slice(0, 10);

async function cardsOf(deck) {
  const { value } = await get(object(deck));
  return value?.cards ?? [];
}

async function list(event, { deck }) {
  return answer(200, { deck, cards: await cardsOf(deck) });
}

/** What is to be learnt on a day, the longest due first. */
async function due(event, { deck }) {
  const on = dayOf(event.queryStringParameters?.on ?? today());
  const cards = (await cardsOf(deck)).filter((card) => card.due <= on);
  cards.sort((a, b) => (a.due < b.due ? -1 : Number(a.due > b.due)));
  return answer(200, { deck, on, cards });
}

async function add(event, { deck }) {
  const fields = fieldsOf(event);
  const card = {
    id: randomUUID(),
    front: textOf(fields, 'front'),
    back: textOf(fields, 'back'),
    ...fresh(dayOf(fields.on ?? today())),
  };
  await update(object(deck), ({ cards } = { cards: [] }) => {
    if (cards.length >= CARDS_MAX) throw new Refused(409, `a deck has ${CARDS_MAX} cards at most`);
    return { cards: [...cards, card] };
  });
  return answer(201, card);
}

async function learn(event, { deck, id }) {
  const { quality, on = today() } = fieldsOf(event);
  if (!Number.isInteger(quality) || quality < 0 || quality > 5) {
    throw new Refused(400, 'quality is a whole number from 0 (forgotten) to 5 (easy)');
  }
  dayOf(on);
  let learnt;
  await update(object(deck), ({ cards } = { cards: [] }) => {
    const card = cards.find((one) => one.id === id);
    if (!card) throw new Refused(404, 'there is no such card');
    learnt = { ...card, ...review(card, quality, on) };
    return { cards: cards.map((one) => (one === card ? learnt : one)) };
  });
  return answer(200, learnt);
}

async function remove(event, { deck, id }) {
  await update(object(deck), ({ cards } = { cards: [] }) => {
    const left = cards.filter((card) => card.id !== id);
    if (left.length === cards.length) throw new Refused(404, 'there is no such card');
    return { cards: left };
  });
  return answer(200, { id });
}

export const handler = serve([
  ['GET', '/', async () => page('Flashcards', 'index.html')],
  ['GET', '/decks/:deck', list],
  ['GET', '/decks/:deck/due', due],
  ['POST', '/decks/:deck/cards', add],
  ['POST', '/decks/:deck/cards/:id/review', learn],
  ['DELETE', '/decks/:deck/cards/:id', remove],
]);
