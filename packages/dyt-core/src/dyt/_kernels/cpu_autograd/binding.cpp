// From Python to the kernels of kernels.cpp, and back through autograd, in one call each.
//
// Does the same as dyt/_ops.py and cpu/launcher.py, for the common cases. Within a model each line
// of Python finds the caches cold and takes microseconds, more than a small layer's arithmetic.
// binding.py compiles this file on the user's machine, because the interface of autograd's nodes
// changes with every release of PyTorch. It returns None for all that it leaves to Python: wrong
// arguments, other layouts and dtypes, tensors that are more than their memory.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <ATen/record_function.h>
#include <c10/core/impl/TorchDispatchModeTLS.h>
#include <torch/csrc/Dtype.h>
#include <torch/csrc/DynamicTypes.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/autograd/forward_grad.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/csrc/dynamo/compiled_autograd.h>
#include <torch/csrc/jit/frontend/tracer.h>
#include <torch/csrc/utils/object_ptr.h>
#include <torch/version.h>

#include "../cpu/calls.h"

namespace {

using at::Tensor;
using torch::autograd::SavedVariable;
using torch::autograd::variable_list;
using Swap = torch::dynamo::autograd::SwapSavedVariables;

int (*library_forward)(const ForwardCall*) = nullptr;
int (*library_backward)(const BackwardCall*) = nullptr;
PyObject* differentiable = nullptr;  // computes the gradients by operators, in Python

// The tensors of a call. An undefined tensor: the layer has no such parameter.
struct Inputs {
  Tensor x, alpha, shift, weight, bias;
};

struct Options {
  int64_t function;
  bool channels_last;
};

bool has_code(at::ScalarType type) { return type == at::kFloat || type == at::kBFloat16; }

// Whether it is nothing but its memory, as _kernels/guard.py has it: no key but a dense tensor's.
bool is_plain(const Tensor& t) {
  constexpr c10::DispatchKeySet dense({c10::DispatchKey::CPU, c10::DispatchKey::ADInplaceOrView,
                                       c10::DispatchKey::AutogradCPU,
                                       c10::DispatchKey::AutocastCPU});
  return (t.key_set() | dense) == dense;
}

bool is_observed() {
  return c10::impl::TorchDispatchModeTLS::any_modes_set() || torch::jit::tracer::isTracing() ||
         c10::impl::tls_is_dispatch_key_included(c10::DispatchKey::FuncTorchDynamicLayerFrontMode);
}

bool is_parameter(const Tensor& t, at::ScalarType type) {
  return is_plain(t) && t.scalar_type() == type && t.is_contiguous();
}

// x as kernels.cpp defines it, and whether x fits. Rows begin after the `lead` leading dimensions.
struct Layout {
  int64_t outer, n, inner, lead;
  bool fits;
  at::MemoryFormat format = at::MemoryFormat::Contiguous;

  Layout(const Inputs& in, bool channels_last) {
    const Tensor& affine = in.weight.defined() ? in.weight : in.bias;
    const int64_t size = in.x.numel();
    n = affine.defined() ? affine.numel() : 1;
    lead = n == 1 ? in.x.dim() : channels_last ? in.x.dim() - affine.dim() : 1;
    fits = in.x.is_contiguous();
    if (n == 1) {
      outer = 1, inner = size;
    } else if (channels_last) {
      outer = size / std::max<int64_t>(1, n), inner = 1;
    } else if (!fits && in.x.is_contiguous(at::MemoryFormat::ChannelsLast)) {
      fits = true, format = at::MemoryFormat::ChannelsLast;
      outer = size / n, inner = 1;
    } else {
      outer = in.x.size(0), inner = size / std::max<int64_t>(1, outer * n);
    }
  }
};

// Elements from one dense row of t to the next; 0 for other layouts. As _pitch of cpu/launcher.py.
int64_t pitch_of(const Tensor& t, int64_t lead, int64_t period) {
  int64_t expected = 1, pitch = 0;
  for (int64_t d = t.dim() - 1; d >= 0; d--) {
    if (t.size(d) == 1) continue;
    if (d < lead && pitch == 0) {
      expected = pitch = t.stride(d);
      if (pitch < period) return 0;
    }
    if (t.stride(d) != expected) return 0;
    expected *= t.size(d);
  }
  return pitch;
}

bool has_shape(const Tensor& affine, const Tensor& x, bool channels_last) {
  if (!channels_last && x.dim() < 2) return false;
  if (!affine.defined()) return true;
  if (!channels_last) return affine.dim() == 1 && affine.size(0) == x.size(1);
  return affine.dim() <= x.dim() &&
         affine.sizes() == x.sizes().slice(x.dim() - affine.dim());
}

bool is_known(const Inputs& in, bool channels_last) {
  const auto type = in.alpha.scalar_type();
  const auto is_scalar = [&](const Tensor& t) { return is_parameter(t, type) && t.numel() == 1; };
  const auto is_affine = [&](const Tensor& t) {
    return has_shape(t, in.x, channels_last) && (!t.defined() || is_parameter(t, type));
  };
  return is_plain(in.x) && has_code(in.x.scalar_type()) && has_code(type) && is_scalar(in.alpha) &&
         (!in.shift.defined() || is_scalar(in.shift)) && is_affine(in.weight) &&
         is_affine(in.bias) &&
         (!in.weight.defined() || !in.bias.defined() || in.weight.sizes() == in.bias.sizes());
}

const void* address(const Tensor& t) { return t.defined() ? t.const_data_ptr() : nullptr; }
void* room(const Tensor& t) { return t.defined() ? t.mutable_data_ptr() : nullptr; }
Tensor like(const Tensor& t) { return t.defined() ? at::empty_like(t) : Tensor(); }

int64_t config(const Inputs& in, int64_t function) {
  const auto type = [](const Tensor& t) { return int(t.scalar_type() == at::kBFloat16); };
  return Config{int(function),       type(in.x),          type(in.alpha),
                in.shift.defined(), in.weight.defined(), in.bias.defined()}
      .packed();
}

// As _error of cpu/launcher.py.
[[noreturn]] void refuse(int status) {
  if (status == OUT_OF_MEMORY) throw std::bad_alloc();
  throw std::runtime_error(sentence(status));
}

Tensor forward(const Inputs& in, const Options& options, const Layout& layout) {
  at::AutoDispatchBelowADInplaceOrView below;
  Tensor y = at::empty_like(in.x);
  const ForwardCall call{
      address(in.x), address(in.alpha), address(in.shift), address(in.weight), address(in.bias),
      room(y), layout.outer, layout.n, layout.inner, layout.n * layout.inner,
      config(in, options.function), at::get_num_threads()};
  PyThreadState* const state = PyEval_SaveThread();  // other Python threads may run
  const int status = library_forward(&call);
  PyEval_RestoreThread(state);
  if (status) refuse(status);
  return y;
}

variable_list backward(Inputs in, Tensor dy, const Options& options) {
  Layout layout(in, options.channels_last);
  if (!layout.fits) {  // a hook on saved tensors returned it in another order
    in.x = in.x.contiguous();
    layout = Layout(in, options.channels_last);
  }
  Tensor dx = at::empty_like(in.x);
  int64_t pitch = layout.n * layout.inner;
  if (!dy.is_contiguous(layout.format)) {
    const int64_t own = dx.is_contiguous() ? pitch_of(dy, layout.lead, pitch) : 0;
    if (own)
      pitch = own;
    else
      dy = dy.contiguous(layout.format);
  }
  variable_list made{dx, like(in.alpha), like(in.shift), like(in.weight), like(in.bias)};
  const BackwardCall call{
      address(dy), address(in.x), address(in.alpha), address(in.shift), address(in.weight),
      room(dx), room(made[1]), room(made[2]), room(made[3]), room(made[4]),
      layout.outer, layout.n, layout.inner, layout.n * layout.inner, pitch,
      config(in, options.function), at::get_num_threads()};
  if (const int status = library_backward(&call)) refuse(status);
  return made;
}

PyObject* wrapped(const Tensor& t) {
  if (t.defined()) return THPVariable_Wrap(t);
  Py_RETURN_NONE;
}

variable_list by_operators(const Inputs& in, const Tensor& dy, const Options& options) {
  pybind11::gil_scoped_acquire gil;
  THPObjectPtr arguments(Py_BuildValue(
      "NNNNNNLO", wrapped(dy), wrapped(in.x), wrapped(in.alpha), wrapped(in.shift),
      wrapped(in.weight), wrapped(in.bias), (long long)options.function,
      options.channels_last ? Py_True : Py_False));
  THPObjectPtr made(arguments ? PyObject_CallObject(differentiable, arguments.get()) : nullptr);
  if (!made) {
    python_error error;
    error.persist();
    throw error;
  }
  variable_list gradients;
  for (Py_ssize_t i = 0; i < 5; i++) {
    PyObject* item = PyTuple_GET_ITEM(made.get(), i);
    gradients.push_back(item == Py_None ? Tensor() : THPVariable_Unpack(item));
  }
  return gradients;
}

const char* const NAMES[] = {"x", "alpha", "shift", "weight", "bias", "the gradient of y"};

// What is compared between forward and backward: hooks on saved tensors and Module.to() change it.
struct Facts {
  c10::DimVector sizes;
  at::ScalarType type = at::kFloat;

  explicit Facts(const Tensor& t) {
    if (!t.defined()) return;
    sizes = t.sizes();
    type = t.scalar_type();
  }

  std::string told(c10::Device device = c10::kCPU) const {
    return c10::str(torch::getTHPDtype(type)->name, ' ', c10::IntArrayRef(sizes), " on ", device);
  }

  // The kernels' gradients have these sizes and types, and dy is that of y, which is as x.
  void check(const char* name, const Tensor& t) const {
    if (!t.defined() || (t.sizes() == sizes && t.scalar_type() == type && t.is_cpu())) return;
    TORCH_CHECK(false, name, " is ", Facts(t).told(t.device()), " in backward, expected ", told(),
                " as in forward: a hook changed it, or Module.to()");
  }
};

struct PointwiseNormBackward : torch::autograd::Node {
  std::array<SavedVariable, 5> saved;
  std::array<Facts, 5> facts;
  Options options;

  PointwiseNormBackward(const Inputs& in, const Options& chosen)
      : saved{SavedVariable(in.x, false), SavedVariable(in.alpha, false),
              SavedVariable(in.shift, false), SavedVariable(in.weight, false),
              SavedVariable(in.bias, false)},
        facts{Facts(in.x), Facts(in.alpha), Facts(in.shift), Facts(in.weight), Facts(in.bias)},
        options(chosen) {}

  Inputs unpack() const {
    return {saved[0].unpack(), saved[1].unpack(), saved[2].unpack(), saved[3].unpack(),
            saved[4].unpack()};
  }

  variable_list apply(variable_list&& gradients) override {
    const Tensor& dy = gradients[0];
    if (!dy.defined()) return variable_list(5);
    Inputs in;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      in = unpack();
    }
    // Grad mode is on where a gradient of this gradient may be asked for.
    if (at::GradMode::is_enabled() || is_observed()) return by_operators(in, dy, options);
    const Tensor* const found[] = {&in.x, &in.alpha, &in.shift, &in.weight, &in.bias};
    for (int i = 0; i < 5; i++) facts[i].check(NAMES[i], *found[i]);
    facts[0].check(NAMES[5], dy);
    if (!is_plain(dy) || !is_known(in, options.channels_last))
      return by_operators(in, dy, options);
    return backward(std::move(in), dy, options);
  }

  void compiled_args(torch::dynamo::autograd::CompiledNodeArgs& arguments) const override {
    for (const SavedVariable& one : saved) arguments.collect(one, false);
    arguments.collect(options.function);
    arguments.collect(options.channels_last);
  }

  // Under compiled autograd: hands it a function that computes by operators, which it traces.
  variable_list apply_with_saved(const variable_list& gradients, Swap& swap) override {
    for (SavedVariable& one : saved) swap.before(one);
    const Inputs in = unpack();
    std::vector<c10::IValue> present;
    std::array<bool, 5> has{};
    const Tensor* const all[] = {&in.x, &in.alpha, &in.shift, &in.weight, &in.bias};
    for (int i = 0; i < 5; i++)
      if ((has[i] = all[i]->defined())) present.emplace_back(*all[i]);
    const auto compute = [has, options = options](const variable_list& given,
                                                  const std::vector<c10::IValue>& packed) {
      if (!given[0].defined()) return variable_list(5);
      Tensor tensors[5];
      for (int i = 0, next = 0; i < 5; i++)
        if (has[i]) tensors[i] = packed[next++].toTensor();
      return by_operators({tensors[0], tensors[1], tensors[2], tensors[3], tensors[4]}, given[0],
                          options);
    };
    using namespace torch::dynamo::autograd;
    const auto& compiler = getPyCompilerInterface();
    const std::vector<at::TypePtr> types(present.size(), at::TensorType::get());
    const std::string bound =
        compiler->bind_function(swap.get_py_compiler(), name(), compute, types, true, true);
    const auto metadata = IValuePacker<std::vector<std::optional<InputMetadata>>>::pack(
        get_input_metadata(next_edges()));
    variable_list made = compiler->call_function(swap.get_py_compiler(), "apply_functional", bound,
                                                 gradients, present, metadata);
    for (SavedVariable& one : saved) swap.after(one);
    return made;
  }

  void release_variables() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (SavedVariable& one : saved) one.reset_data();
  }

  std::string name() const override { return "PointwiseNormBackward"; }
};

// A node with the reference count that autograd expects: c10's since PyTorch 2.13.
auto node_of(const Inputs& in, const Options& options) {
#if TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR < 13
  return std::shared_ptr<PointwiseNormBackward>(new PointwiseNormBackward(in, options),
                                                torch::autograd::deleteNode);
#else
  return c10::make_intrusive<PointwiseNormBackward>(in, options);
#endif
}

bool has_forward_gradient(const Inputs& in) {
  for (const Tensor& t : {in.x, in.alpha, in.shift, in.weight, in.bias})
    if (torch::autograd::isFwGradDefined(t)) return true;
  return false;
}

// pointwise_norm(x, alpha, shift, weight, bias, function, channels_last) -> y, or None: use Python
PyObject* pointwise_norm(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  HANDLE_TH_ERRORS
  Tensor tensors[5];
  if (count != 7) return PyErr_Format(PyExc_TypeError, "takes 7 arguments, got %zd", count);
  const Options options{PyLong_AsLongLong(arguments[5]), arguments[6] == Py_True};
  for (int i = 0; i < 5; i++) {
    if (THPVariable_CheckExact(arguments[i]))
      tensors[i] = THPVariable_Unpack(arguments[i]);
    else if (arguments[i] != Py_None || i < 2)
      Py_RETURN_NONE;
  }
  const Inputs in{tensors[0], tensors[1], tensors[2], tensors[3], tensors[4]};
  if (options.function < 0 || is_observed() || !is_known(in, options.channels_last) ||
      has_forward_gradient(in))
    Py_RETURN_NONE;
  const Layout layout(in, options.channels_last);
  if (!layout.fits) Py_RETURN_NONE;
  RECORD_FUNCTION("dyt::pointwise_norm", (std::vector<c10::IValue>{in.x}));
  Tensor y = forward(in, options, layout);
  using torch::autograd::compute_requires_grad;
  if (compute_requires_grad(in.x, in.alpha, in.shift, in.weight, in.bias)) {
    const auto node = node_of(in, options);
    node->set_next_edges(
        torch::autograd::collect_next_edges(in.x, in.alpha, in.shift, in.weight, in.bias));
    torch::autograd::set_history(y, node);
  }
  return THPVariable_Wrap(std::move(y));
  END_HANDLE_TH_ERRORS
}

// start(forward, backward, gradients): addresses of the library's functions, and the Python one.
PyObject* start(PyObject*, PyObject* arguments) {
  unsigned long long forward, backward;
  PyObject* gradients;
  if (!PyArg_ParseTuple(arguments, "KKO", &forward, &backward, &gradients)) return nullptr;
  library_forward = reinterpret_cast<decltype(library_forward)>(forward);
  library_backward = reinterpret_cast<decltype(library_backward)>(backward);
  Py_INCREF(gradients);
  Py_XSETREF(differentiable, gradients);
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"pointwise_norm", reinterpret_cast<PyCFunction>(pointwise_norm), METH_FASTCALL, nullptr},
    {"start", start, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr}};
PyModuleDef module = {PyModuleDef_HEAD_INIT, "_dyt_binding", nullptr, -1, methods};

}  // namespace

PyMODINIT_FUNC PyInit__dyt_binding() { return PyModule_Create(&module); }
