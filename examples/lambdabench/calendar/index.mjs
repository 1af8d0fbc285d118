// Books rooms by the day. All that is booked for a room on a day is one object, so two bookings
// that overlap are both seen by whoever writes last, and that one is refused.
//
//     fractus bucket create calendar
//     fractus deploy examples/lambdabench/calendar

import { randomUUID } from 'node:crypto';

import { get, update } from './kit/store.mjs';
import { Refused, answer, dayOf, fieldsOf, page, serve, textOf } from './kit/web.mjs';

const BOOKINGS_MAX = 200;

const object = ({ room, day }) => `calendar/${room}/${dayOf(day)}`;

function timeOf(fields, name) {
  const time = fields[name];
  if (typeof time !== 'string' || !/^([01]\d|2[0-3]):[0-5]\d$/.test(time)) {
    throw new Refused(400, `${name} must be a time, such as 09:30`);
  }
  return time;
}

async function list(event, { room, day }) {
  const { value } = await get(object({ room, day }));
  return answer(200, { room, day, bookings: value ?? [] });
}

async function book(event, { room, day }) {
  const path = object({ room, day });
  const fields = fieldsOf(event);
  const booking = {
    id: randomUUID(),
    start: timeOf(fields, 'start'),
    end: timeOf(fields, 'end'),
    title: textOf(fields, 'title'),
  };
  if (booking.start >= booking.end) throw new Refused(400, 'end must be after start');
  let conflict;
  await update(path, (bookings = []) => {
    // Times are text of one length: their order is that of the clock.
    conflict = bookings.find(({ start, end }) => start < booking.end && booking.start < end);
    if (conflict) return undefined;
    if (bookings.length >= BOOKINGS_MAX) throw new Refused(409, 'the day is full');
    return [...bookings, booking].sort((a, b) => (a.start < b.start ? -1 : 1));
  });
  if (conflict) return answer(409, { error: `${room} is taken then`, conflict });
  return answer(201, booking);
}

async function cancel(event, { room, day, id }) {
  let found;
  await update(object({ room, day }), (bookings = []) => {
    found = bookings.find((booking) => booking.id === id);
    return found && bookings.filter((booking) => booking !== found);
  });
  if (!found) throw new Refused(404, 'there is no such booking');
  return answer(200, found);
}

/** The day as RFC 5545 has it, for other calendars to subscribe to. */
async function download(event, { room, day }) {
  const { value: bookings = [] } = await get(object({ room, day }));
  const escaped = (text) => text.replace(/[\\;,]/g, '\\$&').replace(/\r?\n/g, '\\n');
  const at = (time) => `${day}T${time}00`.replace(/[-:]/g, '');
  const events = bookings.flatMap(({ id, start, end, title }) => [
    'BEGIN:VEVENT', `UID:${id}`, `DTSTAMP:${at('00:00')}Z`, `DTSTART:${at(start)}`,
    `DTEND:${at(end)}`, `SUMMARY:${escaped(title)}`, `LOCATION:${room}`, 'END:VEVENT',
  ]);
  const lines = [
    'BEGIN:VCALENDAR', 'VERSION:2.0', 'PRODID:-//Fractus//calendar//EN', ...events, 'END:VCALENDAR',
  ];
  const headers = { 'content-type': 'text/calendar; charset=utf-8', 'cache-control': 'no-store' };
  // Long lines go on after a line end and a blank.
  const folded = lines.map((line) => line.match(/.{1,60}/gu).join('\r\n '));
  return { statusCode: 200, headers, body: `${folded.join('\r\n')}\r\n` };
}

export const handler = serve([
  ['GET', '/', async () => page('Rooms', 'index.html')],
  ['GET', '/rooms/:room/:day', list],
  ['POST', '/rooms/:room/:day', book],
  ['GET', '/rooms/:room/:day.ics', download],
  ['DELETE', '/rooms/:room/:day/:id', cancel],
]);
