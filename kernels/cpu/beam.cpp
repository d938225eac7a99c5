/* Driver of the prefix beam search (Hannun et al. 2014, algorithm 1).
 *
 * Policy. A task is an utterance. Prefixes are nodes of a tree that only grows, so that a prefix
 * that comes back is the same node. A new value of a prefix has two terms at most, and equal ranks
 * are ordered by the labels, so neither the order of the beam nor the threads can change a bit.
 * A space before the first word or after a space changes nothing: the score is that of the words.
 * The penalty of an unknown word counts from the label on with which no known word begins so.
 */
#include "../beam.h"

#include <algorithm>
#include <vector>

#include "../entry_points.h"
#include "threads.h"

namespace {

/* A model of another library: log10 p(token | context), and the context after it. */
using Ask = float (*)(int64_t context, int32_t token, int32_t *after);

/* The language model as a trie; see majelpy/decoding/ngram.py. Entry 0 is the empty context. Where there is
 * `ask`, it answers in place of the trie, and whole numbers of its own stand for contexts. */
struct Model {
  int64_t entries, start, unknown, end; /* the state at the start, and two tokens */
  const int64_t *first;                 /* entry e is followed by the entries first[e]..first[e+1] */
  const int32_t *token, *suffix, *next;
  const float *log10_prob, *backoff;
  Ask ask;

  bool present() const { return entries || ask; }

  int64_t find(int64_t state, int32_t wanted) const {
    if (state == 0) return wanted + 1;
    const int32_t *from = token + first[state], *to = token + first[state + 1];
    const int32_t *at = std::lower_bound(from, to, wanted);
    return at != to && *at == wanted ? at - token : -1;
  }

  /* log10 p(wanted | state), and the state after it. */
  float score(int64_t state, int32_t wanted, int32_t *after) const {
    if (ask) return ask(state, wanted, after);
    float sum = 0.0f;
    int64_t e;
    while ((e = find(state, wanted)) < 0) {
      sum = mj_add(sum, backoff[state]);
      state = suffix[state];
    }
    *after = next[e];
    return mj_add(sum, log10_prob[e]);
  }
};

/* The words that the alphabet can spell, sorted by their labels. */
struct Words {
  int64_t count;
  const int64_t *offsets;
  const int32_t *labels, *tokens;

  /* Of the words low..high, alike in `depth` labels: those that go on with a label. */
  void narrow(int32_t depth, int32_t label, int32_t *low, int32_t *high) const {
    const auto at = [&](int64_t w) { return offsets[w] + depth < offsets[w + 1] ? labels[offsets[w] + depth] : 0; };
    const auto bound = [&](int64_t from, int64_t to, int32_t least) {
      while (from < to) {
        const int64_t middle = (from + to) / 2;
        if (at(middle) < least) from = middle + 1;
        else to = middle;
      }
      return (int32_t)from;
    };
    *low = bound(*low, *high, label);
    *high = bound(*low, *high, label + 1);
  }

  /* The first of the words low..high that is no longer than `depth`, or none. */
  bool whole(int32_t depth, int32_t low, int32_t high) const {
    return low < high && offsets[low] + depth == offsets[low + 1];
  }
};

struct Settings {
  int64_t alphabet, beam, most, space; /* space < 0: there is none */
  float share, alpha, beta, penalty; /* of a word that the model lacks */
  const int32_t *characters; /* token of each label, or null where tokens are words */
};

struct Node {
  int32_t parent, label, child, sibling; /* first child, next child of the parent */
  int32_t slot;                          /* place in the beam or -1 */
  int32_t state, ended_state;            /* of the model; after its last word has ended */
  int32_t depth, low, high;              /* labels of the word so far, and the words that begin so */
  float language, ended_language;
  bool ended; /* whether the two are known */
};

struct Place { /* of the beam */
  int32_t node;
  float blank, label, total;
};

struct Candidate { /* a prefix of the next beam: place `from`, and a label or -1 for itself */
  float rank, score, language;
  int32_t from, label, state, depth, low, high;
};

class Search {
 public:
  Search(const Settings &settings, const Model &model, const Words &words) : s(settings), lm(model), words(words) {
    nodes.push_back({-1, -1, -1, -1, 0, (int32_t)lm.start, 0, 0, 0, (int32_t)words.count, 0.0f, 0.0f, false});
    beam.push_back({0, 0.0f, MJ_CTC_DEAD, 0.0f});
    order.resize(s.alphabet);
  }

  void run(int64_t frames, const float *log_probs) {
    for (int64_t t = 0; t < frames; t++) {
      frame(log_probs + t * s.alphabet);
      if (t % MJ_CTC_SHIFT == MJ_CTC_SHIFT - 1) shift();
    }
  }

  void results(int64_t best, int64_t width, int32_t *lengths, int32_t *labels, float *scores) {
    std::vector<Place> ends = merged();
    const float shifted = mj_sum<float>((long)shifts.size(), [&](long i) { return shifts[i]; });
    std::vector<Candidate> found;
    for (const Place &p : ends) {
      end_word(p.node);
      int32_t state = nodes[p.node].ended_state;
      const float end = lm.present() ? lm.score(state, (int32_t)lm.end, &state) : 0.0f;
      const float language = mj_beam_token(nodes[p.node].ended_language, s.alpha, end, 0.0f);
      const float rank = mj_add(mj_add(p.total, shifted), language);
      found.push_back({rank, 0.0f, 0.0f, p.node, -1, 0, 0, 0, 0});
    }
    std::sort(found.begin(), found.end(), [&](const Candidate &a, const Candidate &b) {
      return a.rank != b.rank ? a.rank > b.rank : spelled(a.from) < spelled(b.from);
    });
    for (int64_t k = 0; k < best; k++) {
      lengths[k] = -1;
      if (k >= (int64_t)found.size()) continue;
      const std::vector<int32_t> text = spelled(found[k].from);
      lengths[k] = (int32_t)text.size();
      scores[k] = found[k].rank;
      std::copy(text.begin(), text.end(), labels + k * width);
    }
  }

 private:
  const Settings &s;
  const Model &lm;
  const Words &words;
  std::vector<Node> nodes;
  std::vector<Place> beam, after;
  std::vector<Candidate> pool;
  std::vector<int32_t> order, in_beam, beside; /* labels by log-probability; children within the beam */
  std::vector<float> shifts;

  std::vector<int32_t> spelled(int32_t node) const {
    std::vector<int32_t> labels;
    for (; nodes[node].parent >= 0; node = nodes[node].parent) labels.push_back(nodes[node].label);
    std::reverse(labels.begin(), labels.end());
    return labels;
  }
  std::vector<int32_t> spelled(const Candidate &c) const {
    std::vector<int32_t> labels = spelled(beam[c.from].node);
    if (c.label >= 0) labels.push_back(c.label);
    return labels;
  }

  bool between_words(const Node &n) const { return n.parent < 0 || n.label == s.space; }

  /* The state and the language score once the word that a prefix ends in is over. */
  void end_word(int32_t index) {
    Node &n = nodes[index];
    if (n.ended) return;
    n.ended = true;
    n.ended_state = n.state;
    n.ended_language = n.language;
    if (s.characters || between_words(n)) return;
    float log10_prob = 0.0f, penalty = 0.0f;
    if (lm.present()) {
      const bool known = words.whole(n.depth, n.low, n.high);
      if (!known && n.low < n.high) penalty = s.penalty; /* the others have had it at an earlier label */
      log10_prob = lm.score(n.state, known ? words.tokens[n.low] : (int32_t)lm.unknown, &n.ended_state);
    }
    n.ended_language = mj_add(mj_beam_token(n.language, s.alpha, log10_prob, s.beta), penalty);
  }

  /* The fewest labels, the most probable first, that have the share of the probability. */
  int64_t probable(const float *log_probs) {
    const int64_t most = std::min(s.most, s.alphabet);
    for (int64_t v = 0; v < s.alphabet; v++) order[v] = (int32_t)v;
    std::partial_sort(order.begin(), order.begin() + most, order.end(), [&](int32_t a, int32_t b) {
      return log_probs[a] != log_probs[b] ? log_probs[a] > log_probs[b] : a < b;
    });
    if (s.share >= 1.0f) return most;
    float sum = 0.0f;
    for (int64_t i = 0; i < most; i++) {
      sum = mj_add(sum, mj_exp(log_probs[order[i]]));
      if (sum >= s.share) return i + 1;
    }
    return most;
  }

  void frame(const float *log_probs) {
    const int64_t labels = probable(log_probs), places = (int64_t)beam.size();
    in_beam.assign(places, -1);
    beside.assign(places, -1);
    after.clear();
    for (int64_t j = 0; j < places; j++) {
      const int32_t parent = nodes[beam[j].node].parent, slot = parent < 0 ? -1 : nodes[parent].slot;
      if (slot >= 0) {
        beside[j] = in_beam[slot];
        in_beam[slot] = (int32_t)j;
      }
      after.push_back({beam[j].node, MJ_CTC_DEAD, MJ_CTC_DEAD, MJ_CTC_DEAD});
    }
    pool.clear();
    for (int64_t k = 0; k < labels; k++) {
      const int32_t label = order[k];
      const float log_prob = mj_ctc_floor(log_probs[label]);
      for (int64_t i = 0; i < places; i++) step((int32_t)i, label, log_prob);
    }
    for (int64_t i = 0; i < places; i++) {
      Place &p = after[i];
      p.total = mj_log_add(p.blank, p.label);
      const float language = nodes[p.node].language;
      if (p.total > MJ_BEAM_LIVE) pool.push_back({mj_add(p.total, language), 0.0f, language, (int32_t)i, -1, 0, 0, 0, 0});
    }
    choose();
  }

  /* Place i of the beam meets a label. */
  void step(int32_t i, int32_t label, float log_prob) {
    const Place &p = beam[i];
    const Node &n = nodes[p.node];
    if (label == 0) {
      after[i].blank = mj_log_add(after[i].blank, mj_add(p.total, log_prob));
      return;
    }
    if (label == s.space && between_words(n)) {
      float &kept = n.parent < 0 ? after[i].blank : after[i].label;
      kept = mj_log_add(kept, mj_add(p.total, log_prob));
      return;
    }
    float score = mj_add(p.total, log_prob);
    if (label == n.label) { /* the same label again, or once more after a blank */
      after[i].label = mj_log_add(after[i].label, mj_add(p.label, log_prob));
      if (p.blank <= MJ_BEAM_LIVE) return;
      score = mj_add(p.blank, log_prob);
    }
    for (int32_t j = in_beam[i]; j >= 0; j = beside[j]) {
      if (nodes[beam[j].node].label == label) {
        after[j].label = mj_log_add(after[j].label, score);
        return;
      }
    }
    int32_t state = n.state, depth = 0, low = 0, high = (int32_t)words.count;
    float language = n.language;
    if (s.characters) {
      const float log10_prob = lm.present() ? lm.score(n.state, s.characters[label], &state) : 0.0f;
      language = mj_beam_token(language, s.alpha, log10_prob, s.beta);
    } else if (label == s.space) {
      end_word(p.node);
      state = n.ended_state;
      language = n.ended_language;
    } else if (lm.present()) {
      depth = n.depth + 1;
      low = n.low;
      high = n.high;
      words.narrow(n.depth, label, &low, &high);
      if (n.low < n.high && low == high) language = mj_add(language, s.penalty);
    }
    pool.push_back({mj_add(score, language), score, language, i, label, state, depth, low, high});
  }

  /* The best of the pool become the beam. */
  void choose() {
    if ((int64_t)pool.size() > s.beam) {
      std::nth_element(pool.begin(), pool.begin() + s.beam, pool.end(), [&](const Candidate &a, const Candidate &b) {
        return a.rank != b.rank ? a.rank > b.rank : spelled(a) < spelled(b);
      });
      pool.resize(s.beam);
    }
    for (const Place &p : beam) nodes[p.node].slot = -1;
    std::vector<Place> chosen;
    for (const Candidate &c : pool) {
      Place p = after[c.from];
      if (c.label >= 0) p = {child(beam[c.from].node, c), MJ_CTC_DEAD, c.score, c.score};
      nodes[p.node].slot = (int32_t)chosen.size();
      chosen.push_back(p);
    }
    beam.swap(chosen);
  }

  int32_t child(int32_t parent, const Candidate &c) {
    for (int32_t at = nodes[parent].child; at >= 0; at = nodes[at].sibling) {
      if (nodes[at].label == c.label) return at;
    }
    nodes.push_back({parent, c.label, -1, nodes[parent].child, -1, c.state, 0, c.depth, c.low, c.high, c.language, 0.0f, false});
    return nodes[parent].child = (int32_t)nodes.size() - 1;
  }

  void shift() {
    float most = MJ_CTC_DEAD;
    for (const Place &p : beam) most = mj_larger(most, p.total);
    for (Place &p : beam) {
      p.blank = mj_ctc_shift(p.blank, most);
      p.label = mj_ctc_shift(p.label, most);
      p.total = mj_ctc_shift(p.total, most);
    }
    shifts.push_back(most);
  }

  /* The last beam; a prefix that ends in a space is the one before it. */
  std::vector<Place> merged() {
    std::vector<Place> ends;
    for (const Place &p : beam) {
      if (nodes[p.node].label != s.space || nodes[p.node].parent < 0) ends.push_back(p);
    }
    for (const Place &p : beam) {
      const int32_t parent = nodes[p.node].parent;
      if (nodes[p.node].label != s.space || parent < 0) continue;
      const auto same = std::find_if(ends.begin(), ends.end(), [&](const Place &q) { return q.node == parent; });
      if (same == ends.end()) ends.push_back({parent, p.blank, p.label, p.total});
      else same->total = mj_log_add(same->total, p.total);
    }
    return ends;
  }
};

}  // namespace

void mj_beam_search(int64_t utterances, const int64_t *offsets, int64_t alphabet, const float *log_probs, int64_t beam,
                    int64_t most, float share, int64_t space, float alpha, float beta, float penalty, const int32_t *characters,
                    int64_t words, const int64_t *word_offsets, const int32_t *word_labels, const int32_t *word_tokens,
                    int64_t entries, int64_t start, int64_t unknown, int64_t end, const int64_t *first,
                    const int32_t *token, const int32_t *suffix, const int32_t *next, const float *log10_prob,
                    const float *backoff, const void *ask, int64_t best, int64_t width, int32_t *lengths, int32_t *labels,
                    float *scores) {
  const Settings settings{alphabet, beam, most, space, share, alpha, beta, penalty, characters};
  const Model model{entries, start, unknown, end, first, token, suffix, next, log10_prob, backoff, (Ask)ask};
  const Words spelled{words, word_offsets, word_labels, word_tokens};
  mj::parallel(utterances, [&](int64_t u) {
    Search search(settings, model, spelled);
    search.run(offsets[u + 1] - offsets[u], log_probs + offsets[u] * alphabet);
    search.results(best, width, lengths + u * best, labels + u * best * width, scores + u * best);
  });
}
