/* The ring of docs/RING.md: two writers, two readers, a ring with room for two messages. Each transition is one access to shared memory (or
 * one question to the kernel); a process can be killed between any two, CRASHES times in all, and comes back in the same slot.
 *
 * A message is its writer and its number, kept as two halves that are written one after the other. GARBAGE is what a half-written one shows.
 *   -DMUT_EARLY_TAIL   W3 before W2: half-written messages are read
 *   -DMUT_STEAL_ALIVE  a takeover does not look at the owner
 *   -DMUT_NO_COUNT     lock words do not count their takings: a takeover may hit another taking of the same slot
 *   -DMUT_NO_CLEAR     a newcomer leaves its predecessor's lock as it is
 *   -DMUT_HEAD_FIRST   R3 before R2: a slot is overwritten while it is read
 */
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef MESSAGES
#define MESSAGES 2 /* of each writer */
#endif
#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef READERS
#define READERS 2
#endif
#define SLOTS 2 /* of the ring */
#define NOBODY 255
#define GARBAGE 255

/* A lock word: owner (process, or NOBODY) and the number of takings. 0: the writers', 1: the readers'. */
byte owner[2] = NOBODY;
byte takings[2];
bool alive[WRITERS + READERS] = true; /* the byte of its slot is held */

byte tail, head;               /* messages ever pushed, popped */
byte first[SLOTS], second[SLOTS]; /* the halves; message = 1 + writer * MESSAGES + number */

/* What the properties are about; no process looks at these. */
byte inside[2];                /* live processes between taking and releasing a lock */
bool committed[1 + WRITERS * MESSAGES], taken[1 + WRITERS * MESSAGES];
byte lastOf[WRITERS];          /* 1 + number of the last message of a writer that was taken */
byte crashes;
byte ended;                    /* writers that have pushed all of theirs */

#define ID(w, n) (1 + (w) * MESSAGES + (n))

/* Lock `l`, or `none` when it cannot be had now. A process blocks where it would spin: its next look is after somebody's step. */
inline take(l, me) {
  do
  :: atomic { owner[l] == NOBODY -> owner[l] = me; takings[l]++; inside[l]++; mine = true; assert(inside[l] == 1) } -> break
  :: atomic { owner[l] != NOBODY -> seenOwner = owner[l]; seenTakings = takings[l] } ->
#ifndef MUT_STEAL_ALIVE
     if
     :: seenOwner != me && alive[seenOwner] ->
        /* it lives: wait until the word is another, or it is dead */
        (owner[l] != seenOwner || takings[l] != seenTakings || !alive[seenOwner])
     :: else ->
#endif
        atomic {
          if
#ifdef MUT_NO_COUNT
          :: owner[l] == seenOwner -> owner[l] = me; takings[l]++; inside[l]++; mine = true; assert(inside[l] == 1)
#else
          :: owner[l] == seenOwner && takings[l] == seenTakings -> owner[l] = me; takings[l]++; inside[l]++; mine = true; assert(inside[l] == 1)
#endif
          :: else
          fi
        }
#ifndef MUT_STEAL_ALIVE
     fi
#endif
     if
     :: mine -> break
     :: else
     fi
  od
}

inline release(l) { atomic { owner[l] = NOBODY; inside[l]--; mine = false } }

/* JOIN of the same slot, after a death. */
inline rejoin(l, me) {
  alive[me] = true;
#ifndef MUT_NO_CLEAR
  atomic { if :: owner[l] == me -> owner[l] = NOBODY :: else fi }
#endif
}

/* A marked process dies before its next step: `unless` comes first. So a mark at any time is a death at any time. */
bool marked[WRITERS + READERS];
#define KILL(l) atomic { marked[_pid] -> marked[_pid] = false; alive[_pid] = false; \
  if :: mine -> inside[l]--; mine = false :: else fi; goto dead }

active [WRITERS] proctype Writer() {
  byte number, seenOwner, seenTakings, at;
  bool mine, done;
begin:
  do
  :: number < MESSAGES ->
     {
       take(0, _pid);                                         /* W1 */
       do                                                     /* W2: room? Otherwise again later */
       :: tail - head < SLOTS -> break
       :: tail - head == SLOTS ->
          release(0);
          (tail - head < SLOTS);
          take(0, _pid)
       od;
       at = tail % SLOTS;
#ifdef MUT_EARLY_TAIL
       atomic { tail++; committed[ID(_pid, number)] = true; done = true };
#endif
       first[at] = ID(_pid, number);
       second[at] = GARBAGE;
       second[at] = ID(_pid, number);
#ifndef MUT_EARLY_TAIL
       atomic { tail++; committed[ID(_pid, number)] = true; done = true };  /* W3 */
#endif
       atomic { number++; done = false };
       release(0)                                             /* W4 */
     } unless { KILL(0) }
  :: number == MESSAGES -> goto over
  od;
dead:
  /* A process that comes back does not know what it pushed; here it goes on behind its last commit. */
  atomic { if :: done -> number++; done = false :: else fi };
  rejoin(0, _pid);
  goto begin;
over:
  ended++
}

active [READERS] proctype Reader() {
  byte seenOwner, seenTakings, one, two, writer;
  bool mine;
begin:
end:
  do
  :: tail != head ->
     {
       take(1, _pid);                                         /* R1 */
       if
       :: tail == head -> release(1)
       :: else ->
#ifdef MUT_HEAD_FIRST
          head++;
          one = first[(head - 1) % SLOTS];
          two = second[(head - 1) % SLOTS];
          atomic {
            assert(one == two && one != GARBAGE && one != 0 && !taken[one]); taken[one] = true
          };
#else
          one = first[head % SLOTS];                          /* R2 */
          two = second[head % SLOTS];
          atomic {                                            /* R3 */
            assert(one == two && one != GARBAGE && one != 0);
            assert(committed[one] && !taken[one]);
            taken[one] = true;
            writer = (one - 1) / MESSAGES;
            assert((one - 1) % MESSAGES + 1 > lastOf[writer]);
            lastOf[writer] = (one - 1) % MESSAGES + 1;
            head++
          };
#endif
          one = 0;
          two = 0;
          release(1)                                          /* R4 */
       fi
     } unless { KILL(1) }
  od;
dead:
  rejoin(1, _pid);
  goto begin
}

active proctype Killer() {
  byte victim;
end:
  do
  :: crashes < CRASHES -> atomic { crashes++; victim = 0; do :: victim < WRITERS + READERS - 1 -> victim++ :: break od; marked[victim] = true; victim = 0 }
  od
}

/* No process is stuck: spin reports a writer that cannot end, or a reader that cannot get back to `end`. Nothing is lost: */
active proctype Judge() {
  /* when all writers have ended and all is read */
  (ended == WRITERS && tail == head && inside[0] == 0 && inside[1] == 0) ->
  d_step {
    byte id = 1;
    do
    :: id <= WRITERS * MESSAGES -> assert(!committed[id] || taken[id]); id++
    :: else -> break
    od
  }
}
