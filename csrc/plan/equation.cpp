#include "plan/equation.h"

#include <algorithm>
#include <map>
#include <sstream>
#include <stdexcept>

namespace irk {
namespace {

constexpr const char* kEllipsis = "...";
constexpr const char* kTermRule = "(a term is letters and one '...')";

[[noreturn]] void fail(const std::string& message) { throw std::invalid_argument(message); }

template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream s;
  (s << ... << parts);
  return s.str();
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string s = "[";
  for (size_t i = 0; i < shape.size(); ++i) s += (i ? ", " : "") + std::to_string(shape[i]);
  return s + "]";
}

using Term = std::vector<std::string>;  // one name an axis; kEllipsis stands for any number of axes

bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Splits one term into letters, UTF-8 sequence by sequence.
Term parse_term(const std::string& s, const std::string& where) {
  Term term;
  for (size_t i = 0; i < s.size();) {
    const auto c = static_cast<unsigned char>(s[i]);
    if (c == '.') {
      if (s.compare(i, 3, kEllipsis) != 0) fail(where + ": found a '.' that is not part of '...' " + kTermRule);
      if (std::count(term.begin(), term.end(), kEllipsis)) fail(where + ": '...' stands twice " + kTermRule);
      term.emplace_back(kEllipsis);
      i += 3;
      continue;
    }
    if (c == '-' || c == '>' || c == ',') fail(text(where, ": found '", char(c), "' where a letter was expected ", kTermRule));
    if (c < 0x20 || c == 0x7f) fail(text(where, ": control character ", int(c), " is no letter"));
    const size_t length = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    term.push_back(s.substr(i, length));
    i += length;
  }
  return term;
}

struct Terms {
  std::vector<Term> inputs;
  Term output;
  bool has_output = false;
  std::string path;  // what stands behind the mark, if anything
};

Terms parse_terms(const std::string& given) {
  Terms terms;
  const size_t mark = given.find(kPathMark);
  if (mark != std::string::npos) terms.path = given.substr(mark + 1);
  std::string equation = given.substr(0, mark);
  equation.erase(std::remove_if(equation.begin(), equation.end(), is_blank), equation.end());
  std::string inputs = equation;
  const size_t arrow = equation.find("->");
  if (arrow != std::string::npos) {
    terms.has_output = true;
    terms.output = parse_term(equation.substr(arrow + 2), "output of the equation '" + equation + "'");
    inputs = equation.substr(0, arrow);
  }
  size_t start = 0;
  for (int position = 0;; ++position) {
    const size_t comma = inputs.find(',', start);
    const std::string term = inputs.substr(start, comma == std::string::npos ? comma : comma - start);
    terms.inputs.push_back(parse_term(term, text("operand ", position, " in the equation '", equation, "'")));
    if (comma == std::string::npos) return terms;
    start = comma + 1;
  }
}

std::string joined(const Term& term) {
  std::string s;
  for (const auto& name : term) s += name;
  return s;
}

// A letter as messages name it.
std::string spoken(const std::string& name) {
  return name.size() > 1 && name[0] == '.' ? "axis " + name.substr(3) + " of '...'" : "the letter '" + name + "'";
}

// Names of the axes of one operand: '...' replaced by its axes, counted from the right so that they broadcast.
Term axis_names(const Term& term, int64_t n_ellipsis) {
  Term names;
  for (const auto& name : term) {
    if (name != kEllipsis) { names.push_back(name); continue; }
    for (int64_t i = n_ellipsis; i > 0; --i) names.push_back(text(kEllipsis, -i));
  }
  return names;
}

class Reader {
 public:
  Reader(const std::string& equation, const std::vector<View>& views) : terms_(parse_terms(equation)) {
    if (terms_.inputs.size() != views.size())
      fail(text("the equation '", equation.substr(0, equation.find(kPathMark)), "' names ", terms_.inputs.size(),
                " operands, but ", views.size(), " were given (one term for each, separated by commas)"));
    for (size_t i = 0; i < views.size(); ++i) read_operand(i, views[i]);
    for (size_t i = 0; i < views.size(); ++i) set_strides(i, views[i]);
    read_output();
    if (!terms_.path.empty()) product_.path = parse_path(terms_.path, views.size());
    for (const auto& letter : product_.letters) product_.empty |= letter.extent == 0;
  }
  Product take() { return std::move(product_); }

 private:
  void read_operand(size_t i, const View& view) {
    const Term& term = terms_.inputs[i];
    const auto rank = static_cast<int64_t>(view.shape.size());
    const auto dots = static_cast<int64_t>(std::count(term.begin(), term.end(), kEllipsis));
    const auto named = static_cast<int64_t>(term.size()) - dots;
    if (dots ? rank < named : rank != named)
      fail(text("operand ", i, " of shape ", shape_text(view.shape), " has ", rank, " dimensions, but its letters '",
                joined(term), "' need ", dots ? "at least " : "", named,
                " (each dimension has a letter, or stands under '...')"));
    n_ellipsis_ = std::max(n_ellipsis_, dots ? rank - named : 0);
    Operand operand;
    operand.shape = view.shape;
    const Term names = axis_names(term, rank - named);
    for (size_t axis = 0; axis < names.size(); ++axis) operand.axes.push_back(read_axis(i, names, axis, view.shape));
    product_.operands.push_back(std::move(operand));
  }

  int read_axis(size_t i, const Term& names, size_t axis, const std::vector<int64_t>& shape) {
    const std::string& name = names[axis];
    const int64_t extent = shape[axis];
    for (size_t earlier = 0; earlier < axis; ++earlier)
      if (names[earlier] == name && shape[earlier] != extent)
        fail(text("operand ", i, " of shape ", shape_text(shape), " repeats the letter '", name, "' with sizes ",
                  shape[earlier], " and ", extent, " (a diagonal needs equal sizes)"));
    const auto found = ids_.find(name);
    if (found == ids_.end()) {
      const int id = static_cast<int>(product_.letters.size());
      ids_[name] = id;
      product_.letters.push_back({name, extent, name.size() > 1 && name[0] == '.'});
      owner_.push_back(i);
      return id;
    }
    Letter& letter = product_.letters[found->second];
    if (letter.extent == 1) { letter.extent = extent; owner_[found->second] = i; }
    if (extent != letter.extent && extent != 1) {
      const size_t owner = owner_[found->second];
      fail(text("operand ", i, " of shape ", shape_text(shape), " has size ", extent, " for ", spoken(name), ", operand ",
                owner, " of shape ", shape_text(product_.operands[owner].shape), " has ", letter.extent,
                " (sizes of one letter must be equal or 1)"));
    }
    return found->second;
  }

  void set_strides(size_t i, const View& view) {
    Operand& operand = product_.operands[i];
    operand.strides.assign(product_.letters.size(), 0);
    for (size_t axis = 0; axis < operand.axes.size(); ++axis) {
      const int letter = operand.axes[axis];
      if (view.shape[axis] == 1) continue;  // broadcast: the operand does not vary along it
      operand.diagonal |= operand.letters[letter];
      operand.letters.set(letter);
      operand.strides[letter] += view.strides[axis];
    }
  }

  void read_output() {
    if (!terms_.has_output) {  // implicit: the '...' axes, then the letters that appear once, in order
      for (int64_t d = n_ellipsis_; d > 0; --d) product_.output.push_back(ids_.at(text(kEllipsis, -d)));
      std::map<std::string, int> count;
      for (const auto& term : terms_.inputs)
        for (const auto& name : term) ++count[name];
      for (const auto& [name, n] : count)
        if (n == 1 && name != kEllipsis) product_.output.push_back(ids_.at(name));
      return;
    }
    const bool any_ellipsis = std::any_of(terms_.inputs.begin(), terms_.inputs.end(), [](const Term& t) {
      return std::count(t.begin(), t.end(), kEllipsis) > 0;
    });
    if (std::count(terms_.output.begin(), terms_.output.end(), kEllipsis) && !any_ellipsis) n_ellipsis_ = 0;
    for (const auto& name : axis_names(terms_.output, n_ellipsis_)) {
      const auto found = ids_.find(name);
      if (found == ids_.end())
        fail(text("the output has ", spoken(name), ", which no operand has (its letters must stand in some operand)"));
      if (std::count(product_.output.begin(), product_.output.end(), found->second))
        fail(text("the output repeats ", spoken(name), " (each letter may stand there once)"));
      product_.output.push_back(found->second);
    }
  }

  Terms terms_;
  Product product_;
  std::map<std::string, int> ids_;
  std::vector<size_t> owner_;  // operand that gave each letter its extent
  int64_t n_ellipsis_ = 0;
};

}  // namespace

Product parse_product(const std::string& equation, const std::vector<View>& views) {
  if (views.empty()) fail("a product needs at least one operand, none was given");
  return Reader(equation, views).take();
}

std::vector<int64_t> Product::output_shape() const {
  std::vector<int64_t> shape;
  for (int letter : output) shape.push_back(extent(letter));
  return shape;
}

std::string Product::term(const LetterSet& set) const {
  std::string s;
  for (size_t i = 0; i < letters.size(); ++i)
    if (set[i]) s += letters[i].ellipsis ? "(" + letters[i].name + ")" : letters[i].name;
  return s.empty() ? "1" : s;
}

int64_t checked_elements(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (int64_t e : shape)
    if (__builtin_mul_overflow(n, e, &n)) throw std::overflow_error("a shape has more than 2^63 elements: " + shape_text(shape));
  return n;
}

}  // namespace irk
