/*
 * ReadersWriterLock, liveness: who wants to get in gets in (steps of docs/LOCK.md), under weak fairness: a process that can go on does
 * so some day. Semaphores barge: whoever comes first after a post takes the token, a sleeper has no right to it, so weak fairness alone
 * does not help a sleeper against one that hammers; courtesy (E4) does.
 *
 * The last process is the observed one: it never dies, stops or gives up. The others may at any time: give up waiting and start again
 * (without a bound), retire, die anywhere (CRASHES) and come back, stop for ever (STOPS) where they hold neither queue nor room.
 * A process stopped while it holds them blocks the others by design, and one stopped inside does so too: not modelled here.
 *
 * Assumed: GRACE is long enough for a running waiter to take a free queue; so it runs out only on a stopped one (and on the dead).
 * Coarser than safety.pml, which checks these in detail: slots belong to processes, R3 and R6..R8 are one step each, no repair.
 */
#ifndef NP
#define NP 3
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef STOPS
#define STOPS 0
#endif
#ifndef READERS
#define READERS 7       /* bit i: process i may read */
#endif
#ifndef WRITERS
#define WRITERS 7       /* bit i: process i may write */
#endif
#define IDLE 0
#define WANT 1
#define QUEUED 2
#define INSIDE 3
#define LEAVING 4
#define NONE 15
#define ROUNDS (CRASHES + 1)

byte epoch;
byte tag; byte count;
byte phase[NP]; byte ticket[NP];   /* ticket: rank among the living tickets, 1 is the oldest, 0 is none (32-bit counter in the code) */
byte ep[NP] = NONE;                /* slot.epoch */
bit queue[ROUNDS]; bit room[ROUNDS];
bit dead[NP]; bit halted[NP]; byte gate;
byte crashes, stops;
bit inside;                        /* the observed one got in */

#define ME (_pid - 1)
#define OBSERVED (NP - 1)
#define E ep[ME]
#define can(mask) (((mask) >> ME) & 1)
#define Q(x) queue[(x) >> 1]
#define M(x) room[(x) >> 1]
#define POST(x) assert(x == 0); x = 1
#if NP == 3
#define used(x) (ep[0] == x || ep[1] == x || ep[2] == x)
#define somebody_dead ((dead[0] && phase[0] != IDLE) || (dead[1] && phase[1] != IDLE))
#define nobody_inside ((phase[0] != INSIDE || dead[0]) && (phase[1] != INSIDE || dead[1]) && phase[2] != INSIDE)
#else
#define used(x) (ep[0] == x || ep[1] == x)
#define somebody_dead (dead[0] && phase[0] != IDLE)
#define nobody_inside ((phase[0] != INSIDE || dead[0]) && phase[1] != INSIDE)
#endif

inline tidy(x) { if :: x != NONE && epoch > x && !used(x) -> queue[x >> 1] = 0; room[x >> 1] = 0 :: else fi }
/* Forgets own ticket; the ranks behind it move up. */
inline drop_ticket() {
  if
  :: ticket[ME] -> k = 0; do :: k == NP -> break :: k < NP -> if :: ticket[k] > ticket[ME] -> ticket[k]-- :: else fi; k++ od; ticket[ME] = 0; k = 0
  :: else
  fi
}
inline draw_ticket() { k = 0; do :: k == NP -> break :: k < NP -> if :: ticket[k] > ticket[ME] -> ticket[ME] = ticket[k] :: else fi; k++ od; ticket[ME]++; k = 0 }
#define LEAVE_EPOCH k = E; E = NONE; tidy(k); k = 0; drop_ticket()
#define TO_IDLE phase[ME] = IDLE; LEAVE_EPOCH; yielded = 0; to = 0
#define MOVED atomic { epoch != E -> goto back_off }
#define DIE atomic { crashes < CRASHES && ME != OBSERVED -> goto die }   /* a goto from inside atomic to inside atomic is one step */
#define STOP atomic { stops < STOPS && ME != OBSERVED -> stops++; halted[ME] = 1; goto end_stopped }
#define STEP(x) if :: atomic { if :: x fi } :: DIE fi
#define GIVE_UP ME != OBSERVED && !w      /* readers only: enough to take a ticket again and again */
#define ELDER(j) (j < NP && j != ME && phase[j] == WANT && ep[j] == E && ticket[j] < ticket[ME] && !((yielded >> j) & 1) && !(halted[j] && ((vain >> j) & 1)))
#ifdef MUT_ANY_ELDER               /* yields to some older waiter, not to the oldest */
#define BETTER(j) (to == NP || ticket[j] > ticket[to])
#else
#define BETTER(j) (to == NP || ticket[j] < ticket[to])
#endif

#ifdef MUT_NO_MEMORY               /* yields to one that does not move again and again */
#define VAIN yielded = 0
#else
#define VAIN vain = vain | (1 << to)
#endif

proctype participant() {
  byte k, to;
  byte yielded;      /* elders that had their turn of this entry */
  byte vain;         /* elders that did not use it; remembered from one entry to the next */
  bit w, room_next;
  goto rest;

end_dead: /* comes back once its slot has been wiped, or never */
  if
  :: atomic { phase[ME] == IDLE -> dead[ME] = 0 }
  :: goto end_gone
  fi;
rest:
  atomic { if :: can(READERS) -> w = 0 :: can(WRITERS) -> w = 1 :: ME != OBSERVED -> goto end_gone fi };
E1:
  STEP(epoch & 1 -> room_next = 0; goto R1 :: !(epoch & 1) -> E = epoch);
  STEP(true -> draw_ticket());
  STEP(true -> phase[ME] = WANT);
E2:
  if :: MOVED :: epoch == E :: DIE fi;
E3:
  if
  :: atomic { Q(E) -> Q(E) = 0 }
  :: MOVED
#ifndef MUT_NO_LOOK                /* sleepers never look for the dead */
  :: atomic { somebody_dead -> room_next = 0; goto R1 }
#endif
  :: atomic { GIVE_UP -> goto stand_down }
  :: STOP
  :: DIE
  fi;
E4:
#ifdef MUT_NO_COURTESY
  skip;
#else
  STEP(true -> to = NP; k = 0; do :: k == NP -> break :: k < NP -> if :: ELDER(k) && BETTER(k) -> to = k :: else fi; k++ od; k = 0;
       if :: to == NP -> to = 0; goto E5 :: else -> yielded = yielded | (1 << to); POST(Q(E)) fi);
  if   /* for GRACE */
  :: atomic { phase[to] != WANT || epoch != E || ep[to] != E || ticket[to] > ticket[ME] || dead[to] -> to = 0; goto E3 }
  :: atomic { phase[to] == WANT && halted[to] -> VAIN; to = 0; goto E3 }
  :: DIE
  fi;
#endif
E5:
  STEP(true -> phase[ME] = QUEUED; yielded = 0);
E6:
  STEP(w -> skip :: !w && tag != E -> goto back_off :: !w && tag == E -> count++; if :: count == 1 :: else -> goto E7 fi);
E6room:
  if
  :: atomic { M(E) -> M(E) = 0 }
  :: MOVED
#ifndef MUT_NO_LOOK
  :: atomic { somebody_dead -> room_next = 1; goto R1 }
#endif
  :: DIE
  fi;
E7:
  STEP(true -> phase[ME] = INSIDE);
E8:
  if :: MOVED :: atomic { epoch == E -> if :: ME == OBSERVED -> inside = 1 :: else fi } :: DIE fi;
  inside = 0;
E9:
  STEP(w -> skip :: !w -> POST(Q(E)));
L1:
  STEP(true -> phase[ME] = LEAVING);
L2:
  STEP(w -> POST(M(E)) :: !w && tag != E -> goto L4 :: !w && tag == E -> assert(count > 0); count--; if :: count > 0 -> goto L4 :: else fi);
  STEP(w -> POST(Q(E)) :: !w -> POST(M(E)));   /* L3 of a writer; a last reader's post */
L4:
  STEP(true -> goto stand_down);

R1:
  if
  :: atomic { gate == 0 -> gate = ME + 1 }
  :: DIE
  fi;
R2:
  STEP((epoch & 1) || somebody_dead -> skip :: !((epoch & 1) || somebody_dead) -> gate = 0; goto Rback);
R3:
  STEP(true -> epoch = epoch | 1);
R4:
  if :: nobody_inside :: DIE fi;
R6: /* R6, R7 and R8 */
  STEP(true -> k = 0; do :: k == NP -> break :: k < NP -> if :: dead[k] -> phase[k] = IDLE :: else fi; k++ od;
       epoch++; tag = epoch; count = 0; Q(epoch) = 1; M(epoch) = 1; k = (epoch >> 1) - 1; tidy((k + k)); k = 0);
  STEP(true -> gate = 0);
Rback:
  if
  :: atomic { phase[ME] == IDLE -> goto E1 }
  :: atomic { phase[ME] != IDLE && !room_next -> goto E3 }
  :: atomic { phase[ME] != IDLE && room_next -> room_next = 0; goto E6room }
  fi;

  atomic { false;
die:
    crashes++; dead[ME] = 1; if :: gate == ME + 1 -> gate = 0 :: else fi;
    LEAVE_EPOCH; yielded = 0; vain = 0; to = 0; w = 0; room_next = 0; goto end_dead
  };
  atomic { false;
back_off:
    TO_IDLE; goto E1
  };
  atomic { false;
stand_down:
    TO_IDLE; goto rest
  };

end_stopped: false;
end_gone: false
}

init {
  byte k;
  atomic { queue[0] = 1; room[0] = 1; do :: k == NP -> break :: k < NP -> run participant(); k++ od; k = 0 }
}

#ifdef LTL
ltl gets_in { [] ((phase[OBSERVED] == WANT) -> <> inside) }
#endif
